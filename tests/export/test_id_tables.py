from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_jax.errors import UserError
from sid_jax.export.artifact import write_table
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.export.manifest import write_manifest
from sid_jax.ids.table import IdTable

SEMANTIC_IDS = np.array([[12, 4, 0], [12, 4, 1], [255, 0, 0]], np.int32)
TITLES = np.array(["Alien", "Brazil", None], dtype=object)


def write_export(folder, item_ids, id_name="item_id", columns=None):
    folder.mkdir()
    write_table(
        folder, IdTable(item_ids, SEMANTIC_IDS, codes=SEMANTIC_IDS[:, :2], id_name=id_name, columns=columns).to_arrow()
    )
    write_manifest(folder, {"schema": {"id_column": id_name, "columns": list(columns or {})}})
    return folder


def write_json(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def write_parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def refused(path, message, offset=0):
    with pytest.raises(UserError, match=message) as caught:
        read_id_table(path, offset)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_export_is_read_with_its_ids_and_titles(tmp_path):
    folder = write_export(tmp_path / "films", np.array([5, 2**40, -1]), columns={"title": TITLES})
    for path in (folder, folder / "ids.parquet", str(folder)):
        table = read_id_table(path)
        assert table.name == "films"
        assert (table.item_ids.dtype, table.item_ids.tolist()) == (np.int64, [5, 2**40, -1])
        assert table.semantic_ids.dtype == np.int32
        assert np.array_equal(table.semantic_ids, SEMANTIC_IDS)
        assert table.titles is not None
        assert table.titles.tolist() == TITLES.tolist()


def test_an_exports_own_id_column_is_used_and_text_stays_text(tmp_path):
    folder = write_export(tmp_path / "asins", np.array(["007", "B1", "é"], dtype=object), "asin")
    table = read_id_table(folder)
    assert (table.item_ids.dtype, table.item_ids.tolist(), table.titles) == (object, ["007", "B1", "é"], None)


def test_an_export_that_is_not_whole_is_refused(tmp_path):
    folder = write_export(tmp_path / "films", np.arange(3))
    (folder / "ids.parquet").write_bytes(b"PAR1")
    refused(folder, "has 4 bytes")
    (folder / "manifest.json").unlink()
    refused(folder, "manifest.json is missing")


def test_a_manifest_without_an_id_column_is_refused(tmp_path):
    write_table(tmp_path, IdTable(np.arange(3), SEMANTIC_IDS, codes=SEMANTIC_IDS).to_arrow())
    write_manifest(tmp_path, {})
    refused(tmp_path, "does not name the column of ids")


@pytest.mark.parametrize(
    "lists",
    [
        pa.array([[1, 2], [3, 4]], pa.large_list(pa.uint16())),
        pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2)),
        pa.chunked_array([[[9, 9], [1, 2]], [[3, 4]]], pa.list_(pa.int8())).slice(1),
    ],
)
def test_all_kinds_of_lists_of_a_parquet_file_are_read(tmp_path, lists):
    ids = pa.array(["a", "b"]).dictionary_encode()
    table = read_id_table(write_parquet(tmp_path / "own.parquet", item=ids, semantic_id=lists))
    assert (table.name, table.item_ids.tolist(), table.semantic_ids.tolist()) == ("own", ["a", "b"], [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item": [1, 2], "name": ["1-2", "3-4"]}, "0 columns have the name 'semantic_id'"),
        ({"item": [1, 2], "semantic_id": ["1-2", "3-x"]}, "item 2 has '3-x'; write codes as"),
        (
            {"item": [1, 2], "semantic_id": [[1.0], [2.0]]},
            "or text such as 12-4-91, found list",
        ),
        (
            {"item": [1, 2], "semantic_id": [[1, 2], [3]]},
            "item 1 has 2 codes, but item 2 has 1; decoders need IDs of equal length",
        ),
        ({"item": [1, 2], "semantic_id": [[1, 2], None]}, "row 1 .* is null"),
        ({"item": [1, 2], "semantic_id": [[1, 2], [3, None]]}, "1 codes are null"),
        ({"item": [1, None], "semantic_id": [[1, 2], [3, 4]]}, "'item': row 1 .* is null"),
        ({"item": [1.5, 2.5], "semantic_id": [[1, 2], [3, 4]]}, "found double"),
        ({"item": pa.array([1, 2**63], pa.uint64()), "semantic_id": [[1], [3]]}, "too large"),
        ({"item": ["x", "x"], "semantic_id": [[1, 2], [3, 4]]}, "'x' is in row 0 and again in row 1"),
        ({"item": ["x", "y"], "semantic_id": [[1, 2], [3, -4]]}, r"item 'y' \(row 1.* has the code -4"),
        ({"item": ["x", "y"], "semantic_id": [[1, 2], [3, 2**31]]}, "has the code 2147483648"),
        ({"item": pa.array([], pa.int64()), "semantic_id": pa.array([], pa.list_(pa.int32()))}, "has no items"),
        ({"item": [1], "semantic_id": pa.array([[]], pa.list_(pa.int32()))}, "have no codes"),
    ],
)
def test_a_bad_parquet_table_is_refused(tmp_path, columns, message):
    refused(write_parquet(tmp_path / "bad.parquet", **columns), message)


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pa.table([pa.array([1]), pa.array([[1]]), pa.array([[2]])], names=["item", "semantic_id", "semantic_id"])
    pq.write_table(table, tmp_path / "two.parquet")
    refused(tmp_path / "two.parquet", "2 columns have the name 'semantic_id'")


def test_titles_that_are_no_text_are_left_out(tmp_path):
    path = write_parquet(tmp_path / "own.parquet", item=[1, 2], semantic_id=[[1], [2]], title=[[1], [2]])
    assert read_id_table(path).titles is None


def test_tokens_and_numbers_in_json_mean_the_same(tmp_path):
    tokens = write_json(tmp_path / "letter.json", {"0": ["<a_183>", "<b_7>"], "2": ["<a_255>", "<b_0>"]})
    numbers = write_json(tmp_path / "numbers.json", {"0": [183, 7], "2": [255, 0]})
    for path in (tokens, numbers):
        table = read_id_table(path)
        assert (table.item_ids.dtype, table.item_ids.tolist()) == (np.int64, [0, 2])
        assert (table.semantic_ids.dtype, table.semantic_ids.tolist()) == (np.int32, [[183, 7], [255, 0]])
        assert table.titles is None
    assert read_id_table(tokens).name == "letter"
    assert read_id_table(tokens).fingerprint() == read_id_table(numbers).fingerprint()


@pytest.mark.parametrize("items", [["1", "B00"], ["007", "1"], ["1", "9" * 19], ["1", "٣"], ["1", "-0"]])
def test_items_of_json_stay_text_unless_all_are_whole_numbers(tmp_path, items):
    table = read_id_table(write_json(tmp_path / "ids.json", {item: [row] for row, item in enumerate(items)}))
    assert (table.item_ids.dtype, table.item_ids.tolist()) == (object, items)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"1": [1, 2], "2": [3', "not a readable .json file"),
        ("[[1, 2]]", "expected one object"),
        ("{}", "has no items"),
        ('{"1": []}', "have no codes"),
        ('{"1": [1, 2], "1": [1, 3]}', "id 1 is in row 0 and again in row 1"),
        ('{"1": "<a_1><b_2>"}', "item '1' has '<a_1><b_2>'; give each item a list"),
        ({"1": ["<a_1>", "<b_25"]}, "item '1' has the code '<b_25'"),
        ({"1": ["<a_1>", "<b_-1>"]}, "item '1' has the code '<b_-1>'"),
        ({"1": [1, True]}, "has the code True"),
        ({"1": [1, 2.0]}, "has the code 2.0"),
        ({"1": [1, {"a": "line\nbreak " * 100}]}, "has the code .{0,90};"),
        ({"1": [1, 2], "7": [1, 2, 3]}, "item 1 has 2 codes, but item 7 has 3; decoders need"),
        ({"1": [1, -2]}, r"item 1 \(row 0.*has the code -2"),
        ({"1": [1, 10**30]}, f"has the code {10**30}"),
    ],
)
def test_bad_json_is_refused(tmp_path, content, message):
    refused(write_json(tmp_path / "bad.json", content), message)


def test_json_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "bad.json"
    path.write_bytes('{"é": [1]}'.encode("latin-1"))
    refused(path, "not a readable .json file")


def test_an_array_numbers_its_items_by_row(tmp_path):
    np.save(tmp_path / "ids.npy", SEMANTIC_IDS.astype(np.uint64))
    table = read_id_table(tmp_path / "ids.npy")
    assert (table.item_ids.dtype, table.item_ids.tolist()) == (np.int64, [0, 1, 2])
    assert table.semantic_ids.dtype == np.int32
    assert np.array_equal(table.semantic_ids, SEMANTIC_IDS)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (SEMANTIC_IDS.astype(np.float32), "expected whole numbers"),
        (SEMANTIC_IDS[0], "found int32 .3."),
        (SEMANTIC_IDS - 1, "has the code -1"),
        (SEMANTIC_IDS.astype(np.uint64) << 32, "has the code 51539607552"),
        (SEMANTIC_IDS[:0], "has no items"),
        (SEMANTIC_IDS[:, :0], "have no codes"),
    ],
)
def test_a_bad_array_is_refused(tmp_path, array, message):
    np.save(tmp_path / "bad.npy", array)
    refused(tmp_path / "bad.npy", message)


class Planted:
    def __reduce__(self):
        return Path.touch, (Path("unpickled"),)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "objects.npy", np.array([[Planted()]], dtype=object), allow_pickle=True)
    refused(tmp_path / "objects.npy", "contains Python objects .*, which are never unpickled")
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Planted()))
    refused(tmp_path / "pickle.npy", "not a readable .npy array")
    assert not (tmp_path / "unpickled").exists()


def test_files_that_are_missing_or_of_another_kind_are_refused(tmp_path):
    refused(tmp_path / "none.json", "no such file or folder")
    (tmp_path / "ids.txt").write_text("item,sid")
    refused(tmp_path / "ids.txt", "unknown kind of file '.txt'")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and no more")
    refused(tmp_path / "damaged.parquet", "not a readable .parquet file")
    named = write_parquet(tmp_path / "named.parquet", item_id=[1], semantic_id=[[1, 2]], kind=["x"])
    named.write_bytes(named.read_bytes().replace(b"kind", b"\xffind"))
    refused(named, "not a readable .parquet file")
    codes, numbers = np.arange(300).reshape(100, 3), np.arange(100)
    np.savez_compressed(tmp_path / "whole.npz", semantic_ids=codes, item_numbers=numbers)
    whole = (tmp_path / "whole.npz").read_bytes()
    # A truncated archive, an archive in which the header of an entry is damaged, and one with damaged compressed data.
    for content in (whole[:-30], b"PK\x03\x05" + whole[4:], whole[:100] + bytes(60) + whole[160:]):
        (tmp_path / "damaged.npz").write_bytes(content)
        refused(tmp_path / "damaged.npz", "not a readable .npz file")
    with zipfile.ZipFile(tmp_path / "bytes.npz", "w") as archive:
        for name in ("semantic_ids", "item_numbers"):
            archive.writestr(f"{name}.npy", b"no array")
    refused(tmp_path / "bytes.npz", "not a readable .npz file .*is not an array")


@pytest.mark.parametrize("text", ["item,title,semantic_id\n007,x,1 20\nNA,y,3 4\n", "item,sid\n007,1-20\nNA,3-4\n"])
def test_a_csv_has_ids_as_text_or_numbers_and_codes_with_blanks_or_hyphens(tmp_path, text):
    (tmp_path / "ids.csv").write_text(text)
    table = read_id_table(tmp_path / "ids.csv")
    assert table.item_ids.tolist() == ["007", "NA"] and table.semantic_ids.tolist() == [[1, 20], [3, 4]]
    (tmp_path / "ids.csv").write_text(text.replace("007", "7").replace("NA", "12"))
    assert read_id_table(tmp_path / "ids.csv").item_ids.tolist() == [7, 12]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sid,item\n1-2,a\n", "no column after the first is 'semantic_id' or 'sid'"),
        ("item,sid\na,1-2\nb,1-x\n", "item 'b' has '1-x'"),
        ("item,sid\na,1-2\nb,1\n", "item 'b' has 1"),
        ("item,sid\na,\n", "row 0 .* is null"),
        ("", "not a readable .csv file"),
    ],
)
def test_a_csv_that_is_wrong_is_refused(tmp_path, text, message):
    (tmp_path / "ids.csv").write_text(text)
    refused(tmp_path / "ids.csv", message)


def test_an_offset_moves_numbers_and_refuses_text(tmp_path):
    numbers = write_json(tmp_path / "numbers.json", {"0": [1], "1": [2]})
    assert read_id_table(numbers, 1).item_ids.tolist() == [1, 2]
    assert read_id_table(numbers, -1).item_ids.tolist() == [-1, 0]
    refused(write_json(tmp_path / "text.json", {"a": [1], "b": [2]}), r"cannot add \+1.*'a'", offset=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("letter.json", ("letter.json", 0)),
        ("letter.json+1", ("letter.json", 1)),
        ("a+2/ids.parquet-10", ("a+2/ids.parquet", -10)),
        ("exports/beauty-2", ("exports/beauty-2", 0)),
        ("letter.json+", ("letter.json+", 0)),
        ("letter.json+1.5", ("letter.json+1.5", 0)),
    ],
)
def test_a_source_is_a_path_and_what_is_added_to_ids(text, expected):
    assert parse_id_source(text) == (Path(expected[0]), expected[1])


def test_a_path_that_exists_has_no_offset(tmp_path):
    folder = tmp_path / "letter.json+1"
    folder.mkdir()
    assert parse_id_source(str(folder)) == (folder, 0)
