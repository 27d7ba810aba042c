"""Item ids that do not match, for any reason: the error names the cause, and different items never match."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_jax import SemanticIdTokenizer
from sid_jax.append.run import append
from sid_jax.data.history_files import read_interactions, read_sequences
from sid_jax.data.id_lists import read_id_list, read_item_list, some_unknown
from sid_jax.data.inputs import as_histories, vector_set
from sid_jax.data.vector_files import read_vector_files
from sid_jax.diff import diff
from sid_jax.errors import UserError
from sid_jax.evaluate import evaluate_ids, read_labels
from sid_jax.export.artifact import load_export
from sid_jax.features.run import read_impressions
from sid_jax.ids.matching import find_alignment
from sid_jax.ids.table import IdTable
from sid_jax.messages import Messages
from sid_jax.presets import preset
from tests.append.conftest import made_vectors, make_export, write_vectors
from tests.commands import run

SILENT = Messages.silent()
PADDED = [f"{number:06}" for number in range(40, 50)]
NUMBERS = np.arange(10)


@pytest.fixture(scope="module")
def padded(tmp_path_factory):
    """An export of items with zero-padded text ids."""
    return make_export(tmp_path_factory.mktemp("padded") / "v1", PADDED, made_vectors(range(10)))


def test_whole_numbers_are_not_appended_to_zero_padded_text(padded, tmp_path):
    new = write_vectors(tmp_path / "new.parquet", range(40, 50), made_vectors(range(10)))
    with pytest.raises(UserError, match="ids are whole numbers, such as 40, .* are text, such as '000040'"):
        append(padded, tmp_path / "v2", [new], messages=SILENT)
    assert not (tmp_path / "v2").exists()


def test_whole_numbers_are_appended_to_text_that_is_written_as_they_are(tmp_path):
    make_export(tmp_path / "v1", [str(number) for number in range(10)], made_vectors(range(10)))
    new = write_vectors(tmp_path / "new.parquet", [9, 10], made_vectors([9, 10]))
    append(tmp_path / "v1", tmp_path / "v2", [new], messages=SILENT)
    assert load_export(tmp_path / "v2").table.item_ids.tolist() == [str(number) for number in range(11)]


@pytest.mark.parametrize(
    ("given", "catalog", "words"),
    [
        (["49", "48"], np.array(PADDED, object), "'49' differs from '000049' in leading zeros"),
        (["007", "1"], NUMBERS, "'007' differs from 7 in leading zeros"),
        (["1.0", "2.0"], NUMBERS, "'1.0' differs from 1 in a decimal point"),
        (["A", "b"], np.array(["a", "b"], object), "'A' differs from 'a' in spaces or upper case"),
        (["10", "1", "2"], NUMBERS, "numbered from 1, but the catalog is numbered from 0, .* do not drop"),
        (["0", "1", "2"], np.arange(1, 11), "numbered from 0, but the catalog is numbered from 1, .* do not drop"),
        (["B07", "B08"], NUMBERS, r"no id matches, .* ids of another kind \(text; the catalog has numbers\)"),
        (["x", "1", "2"], NUMBERS, r"1 of 3 interactions have unknown items: drop them \(on_unknown=\"drop\"\), or"),
        # The list contains the catalog's first item, 0, so its ids seem to be numbered from 0, as in the catalog.
        (["10", "0", "1"], NUMBERS, "drop them"),
    ],
    ids=[
        "zero_padding",
        "zero_padding_of_text",
        "decimals",
        "capitals",
        "from_1",
        "from_0",
        "all_unknown",
        "few",
        "last",
    ],  # fmt: skip
)
def test_causes_of_unknown_ids_are_told_apart(given, catalog, words):
    with pytest.raises(UserError, match=words):
        as_histories([given], catalog)


def test_every_reader_tells_the_cause_and_drops_if_asked(padded, tmp_path, caplog):
    ids = np.array(PADDED, object)
    sequences, table, listed = tmp_path / "s.txt", tmp_path / "i.csv", tmp_path / "ids.txt"

    def write(*items):
        sequences.write_text("u " + " ".join(items))
        table.write_text("user,item,time\n" + "".join(f"u,{item},{n}\n" for n, item in enumerate(items)))
        listed.write_text("\n".join(items))

    readers = (
        lambda **how: read_sequences(sequences, ids, **how),
        lambda **how: read_interactions(table, ids, "user", "item", "time", **how),
        lambda **how: as_histories({"u": sequences.read_text().split()[1:]}, ids, **how),
        lambda **how: read_item_list(listed, ids, **how),
        lambda **how: append(padded, tmp_path / "v2", removed=listed, messages=SILENT, **how),
        lambda **how: evaluate_ids(str(padded), histories=str(sequences), holdout=0, messages=SILENT, **how),
    )
    for read in readers:
        write("49", "000041", "42")
        with pytest.raises(UserError, match="'49' differs from '000049' in leading zeros"):
            read()
        write("x", "000041", "000042", "000043")
        for how in ("drop", "skip"):
            caplog.clear()
            found = read(on_unknown=how)
            assert "'x'" in caplog.text, read
            if how == "drop" and hasattr(found, "num_unknown"):
                assert found.num_unknown == 1 and found.items.tolist() == [1, 2, 3]
            if isinstance(found, np.ndarray):
                assert np.flatnonzero(found).tolist() == [1, 2, 3]
            (tmp_path / "v2").exists() and (tmp_path / "v2").rename(tmp_path / how)
        write("x", "y")
        if read is not readers[4]:
            with pytest.raises(UserError, match="no id matches, so these seem to be ids of another kind"):
                read(on_unknown="drop")
    assert load_export(tmp_path / "drop").table.item_ids.tolist() == ["000040", *PADDED[4:]]


def test_lists_of_ids_may_have_blanks_and_other_line_ends(padded, tmp_path):
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbf 000041\r\n000042 \r\n\t000043\r\n\r\n")
    named = read_item_list(tmp_path / "ids.txt", np.array(PADDED, object))
    assert np.flatnonzero(named).tolist() == [1, 2, 3]
    append(padded, tmp_path / "v2", removed=tmp_path / "ids.txt", messages=SILENT)
    assert load_export(tmp_path / "v2").table.item_ids.tolist() == ["000040", *PADDED[4:]]


def test_ids_for_another_catalog_are_refused_with_the_cause():
    table = IdTable(NUMBERS, np.arange(20).reshape(10, 2) % 10, shared=True)
    with pytest.raises(UserError, match=r"numbered from 1, but the catalog is numbered from 0.*FILE.json\+1"):
        table.align(np.arange(1, 11))


def test_bad_rows_and_unknown_items_are_dropped_in_evaluate(padded, tmp_path, caplog):
    vectors = made_vectors(range(11))
    vectors[3] = np.nan
    path = write_vectors(tmp_path / "items.parquet", [*PADDED, "x"], vectors)
    with pytest.raises(UserError, match=r"drop them \(--on_bad_rows=drop\)$"):
        evaluate_ids(str(padded), vectors=path, messages=SILENT)
    with pytest.raises(UserError, match="the first one is 'x'"):
        evaluate_ids(str(padded), vectors=path, on_bad_rows="drop", messages=SILENT)
    figures = evaluate_ids(str(padded), vectors=path, on_bad_rows="drop", on_unknown="drop", messages=SILENT)
    assert figures["num_items"] == 9 and "1 of 11 rows" in caplog.text and "1 of 10 items" in caplog.text


def test_histories_may_name_items_whose_vectors_are_dropped_in_evaluate(padded, tmp_path, caplog):
    vectors = made_vectors(range(10))
    vectors[3] = np.nan
    path = write_vectors(tmp_path / "items.parquet", PADDED, vectors)
    given = {"vectors": path, "on_bad_rows": "drop", "holdout": 0, "messages": SILENT}
    lists = [PADDED[start : start + 4] for start in range(7)]
    figures = evaluate_ids(str(padded), histories=lists, **given)
    assert "4 of 28 interactions are dropped, since their items have no vector" in caplog.text
    without = [[item for item in items if item != PADDED[3]] for items in lists]
    assert figures == evaluate_ids(str(padded), histories=without, **given)
    # Items without a Semantic ID are counted separately.
    lists[0] = ["x", *lists[0]]
    with pytest.raises(UserError, match="'x' is not in the catalog.*1 of 29 interactions"):
        evaluate_ids(str(padded), histories=lists, **given)
    caplog.clear()
    assert figures == evaluate_ids(str(padded), histories=lists, on_unknown="drop", **given)
    assert "1 of 29 interactions have unknown items" in caplog.text and "4 of 28 interactions" in caplog.text


def test_a_command_prints_what_it_dropped_as_warnings(padded, tmp_path):
    vectors = made_vectors(range(11))
    vectors[3] = np.nan
    path = write_vectors(tmp_path / "items.parquet", [*PADDED, "x"], vectors)
    result = run(
        "-m", "sid_jax", "evaluate", f"--ids={padded}", f"--vectors={path}", "--on_bad_rows=drop", "--on_unknown=drop"
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    bad, unknown = result.stderr.splitlines()
    assert bad.startswith("warning: 1 of 11 rows ") and unknown.startswith("warning: ") and "1 of 10 items" in unknown


def test_of_two_tables_that_write_ids_otherwise_that_is_said(padded, tmp_path, caplog):
    old = load_export(padded).table
    # Nine of ten ids are written without leading zeros.
    mixed = np.array([*(name.lstrip("0") for name in PADDED[:9]), PADDED[9]], object)
    json_ids = dict(zip(mixed.tolist(), old.semantic_ids.tolist(), strict=True))
    (tmp_path / "new.json").write_text(json.dumps(json_ids))
    told = []
    messages = Messages(lambda shown, markup: told.append(str(shown)), None)
    diff(str(padded), str(tmp_path / "new.json"), messages=messages)
    assert "'40' differs from '000040' in leading zeros" in " ".join(told)
    codes, sizes = old.semantic_ids[9:], [1 + int(old.semantic_ids.max())] * old.semantic_ids.shape[1]
    find_alignment(old, np.array([9]), codes, sizes, some_unknown(mixed, np.array([9])))
    assert "'40' differs from '000040' in leading zeros" in caplog.text


def test_labels_and_impressions_come_in_several_files_and_strangers_are_counted(tmp_path, caplog):
    for name, item, kind, count in (("a", "000040", "x", 3), ("b", "000041", "y|z", 4), ("c", "q", "z", 5)):
        table = pa.table({"item_id": [item], "kind": [kind], "impressions": [count]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    catalog = np.array(PADDED[:3], object)
    assert list(map(list, read_labels(f"{tmp_path}/*.parquet:kind", catalog))) == [["x"], ["y", "z"], []]
    assert "'q' is not in the catalog; 1 of 3 items are unknown and were dropped" in caplog.text
    caplog.clear()
    assert read_impressions(f"{tmp_path}/a.parquet,{tmp_path}/c.parquet", catalog).tolist() == [3, 0, 0]
    assert "'q' is not in the catalog; 1 of 2 items are unknown and were dropped" in caplog.text
    for read in (read_impressions, lambda path, ids: read_labels(f"{path}:kind", ids)):
        with pytest.raises(UserError, match="'000040' differs from '40' in leading zeros"):
            read(f"{tmp_path}/a.parquet", np.array(["40"], object))


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n", "\t\r\n"])
def test_every_list_of_ids_in_text_is_read_without_surrounding_spaces(padded, tmp_path, end):
    names, vectors = [*PADDED[:3], "a b"], made_vectors(range(4))
    (tmp_path / "ids.txt").write_bytes(("\ufeff " + end.join(names) + end + " \n\n").encode())
    catalog = np.array([*PADDED, "a b"], object)
    assert read_id_list(tmp_path / "ids.txt") == names
    assert catalog[read_item_list(tmp_path / "ids.txt", catalog)].tolist() == names
    np.save(tmp_path / "v.npy", vectors)
    assert read_vector_files(f"{tmp_path}/v.npy", ids_paths=[f"{tmp_path}/ids.txt"]).ids.tolist() == names
    assert vector_set(vectors, tmp_path / "ids.txt", settings=preset("embeddings").data).ids.tolist() == names


def test_empty_lines_between_ids_are_ignored_unless_lines_are_rows(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("000041\n\n \n000049\nx\n")
    with pytest.raises(UserError, match="line 5: item 'x' is not in the catalog"):
        read_item_list(path, np.array(PADDED, object))
    np.save(tmp_path / "v.npy", made_vectors(range(3)))
    with pytest.raises(UserError, match="line 2 is empty"):
        read_vector_files(f"{tmp_path}/v.npy", ids_paths=[str(path)])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"item_id\na\nb\n", "3 ids, but .* has 2 vectors; give one id per vector, and no header line"),
        ("a\nb\n".encode("utf-16"), "not UTF-8 text; give a .npy file, or UTF-8 text"),
        (b"PAR1\x15\x04", "its content is a Parquet file; give it the ending .parquet"),
    ],
)
def test_a_file_of_ids_that_is_no_list_of_ids(tmp_path, content, words):
    np.save(tmp_path / "v.npy", made_vectors(range(2)))
    (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_vector_files(f"{tmp_path}/v.npy", ids_paths=[f"{tmp_path}/ids.txt"])


def test_ids_without_an_order_are_refused_and_bytes_are_text():
    data, vectors = preset("embeddings").data, made_vectors(range(2))
    with pytest.raises(UserError, match="item_ids: a set has no order"):
        vector_set(vectors, {"a", "b"}, settings=data)
    with pytest.raises(UserError, match="user 0 has .*, which is not a list"):
        as_histories([frozenset(PADDED)], np.array(PADDED, object))
    for ids in ([b"007", "ä".encode()], np.array(["007", "ä".encode()], "S")):
        assert vector_set(vectors, ids, settings=data).ids.tolist() == ["007", "ä"]
    with pytest.raises(UserError, match="an id is not UTF-8 text"):
        vector_set(vectors, [b"\xff", b"a"], settings=data)


def test_ids_in_the_index_of_a_data_frame_order_its_rows():
    data, names = preset("embeddings").data, ["a", "b", "c"]
    vectors, frame = made_vectors(range(3)), pd.DataFrame({"title": ["C", "A", "B"]}, index=["c", "a", "b"])
    found = vector_set(vectors, names, columns=frame, settings=data)
    assert found.columns["title"].to_pylist() == ["A", "B", "C"]
    assert vector_set(pd.DataFrame(vectors, index=names), settings=data).ids.tolist() == names
    assert vector_set(pd.DataFrame(vectors), settings=data).ids.tolist() == [0, 1, 2]
    rows = vector_set(vectors, [2, 0, 1], columns=pd.DataFrame({"title": ["C", "A", "B"]}), settings=data)
    assert rows.columns["title"].to_pylist() == ["C", "A", "B"]


def test_a_column_with_a_name_of_the_id_table_is_refused_before_training():
    for name in ("codes", "sid"):
        with pytest.raises(UserError, match=f"two columns of the ID table would have the name '{name}'"):
            vector_set(made_vectors(range(2)), ["a", "b"], columns={name: [1, 2]}, settings=preset("embeddings").data)


def test_more_items_than_ids_are_refused_before_training():
    tokenizer = SemanticIdTokenizer(num_levels=2, codebook_size=2)
    with pytest.raises(
        UserError, match="5 items are too many for unique Semantic IDs: 2 levels of .* codes have IDs for 4 items"
    ):
        tokenizer.fit(made_vectors(range(5)), verbose=False)
    assert "not fitted" in repr(tokenizer)
