"""Features that are written from an ID table, and the features of items that are added later."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from sid_jax.append.run import append
from sid_jax.errors import UserError
from sid_jax.export.id_tables import read_id_table
from sid_jax.features.kinds import KINDS
from sid_jax.features.run import FEATURES_FILE, make_features, read_features, read_impressions, read_item_rows
from sid_jax.messages import Messages
from tests.append.conftest import made_vectors, make_export, write_vectors
from tests.commands import refused, run

SILENT = Messages.silent()
NAMES = [f"sku-{number}" for number in range(50)]


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """An export of 30 items, and the next version, which adds 20 items and removes two."""
    folder = tmp_path_factory.mktemp("exports")
    make_export(folder / "v1", NAMES[:30], made_vectors(range(30)))
    later = write_vectors(folder / "later.parquet", NAMES[30:], made_vectors(range(30, 50), seed=1))
    (folder / "gone.txt").write_text("sku-3\nsku-4\n")
    append(folder / "v1", folder / "v2", [later], removed=folder / "gone.txt", messages=SILENT)
    return folder


def rows_by_item(folder):
    item_ids, found = read_item_rows(folder)
    return {item: found.of(number).tolist() for number, item in enumerate(item_ids.tolist())}


@pytest.mark.parametrize("kind", KINDS)
def test_items_that_come_later_get_theirs_by_the_same_rows(kind, versions, tmp_path):
    make_features(str(versions / "v1"), tmp_path / "f1", kind=kind, num_rows=40, messages=SILENT)
    make_features(str(versions / "v2"), tmp_path / "f2", fitted=tmp_path / "f1", messages=SILENT)
    first, second = rows_by_item(tmp_path / "f1"), rows_by_item(tmp_path / "f2")
    assert len(first) == 30 and len(second) == 48 and "sku-3" not in second
    assert all(rows == first[item] for item, rows in second.items() if item in first)
    assert all(rows and min(rows) >= 0 and max(rows) < 40 for rows in second.values())
    # The features that `read_features` loads from the folder f2 give each item the same rows as the file in this
    # folder. Row 0 is for unknown items and unknown codes.
    table = read_id_table(versions / "v2")
    fitted = read_features(tmp_path / "f2")
    found = fitted.rows_of(table.item_ids, table.semantic_ids)
    assert [found.of(row).tolist() for row in range(48)] == [second[item] for item in table.item_ids]
    if kind == "item":
        assert {second[item][0] for item in NAMES[30:]} == {0}
    elif kind != "random":
        assert set(np.concatenate([second[item] for item in NAMES[30:]])) - {0}


def test_ids_are_kept_as_they_came_and_the_manifest_says_what_was_made(tmp_path):
    ids = np.array([[0, 1], [0, 2], [1, 1]])
    np.save(tmp_path / "ids.npy", ids)
    make_features(str(tmp_path / "ids.npy"), tmp_path / "out", kind="prefix", num_rows=10, messages=SILENT)
    table = pq.read_table(tmp_path / "out" / FEATURES_FILE)
    assert table.schema.field("item_id").type == pa.int64() and table.schema.field("rows").type == pa.list_(pa.int32())
    assert table["item_id"].to_pylist() == [0, 1, 2]
    about = json.loads((tmp_path / "out" / "manifest.json").read_text())["features"]
    assert about["kind"] == "prefix" and about["num_rows"] == 10 and about["rows_in_use"] == 5
    assert about["rows_an_item"] == 2 and about["made_of"]["num_items"] == 3


def test_impressions_are_counts_or_rows(tmp_path):
    item_ids = np.array(["a", "b", "c"], object)
    pq.write_table(
        pa.table({"item_id": ["b", "a", "b", "z"], "impressions": [3, 0, 4, 9]}), tmp_path / "counts.parquet"
    )
    assert read_impressions(tmp_path / "counts.parquet", item_ids).tolist() == [0, 7, 0]
    pyarrow.csv.write_csv(pa.table({"user": ["u", "v", "w"], "item_id": ["c", "c", "a"]}), tmp_path / "log.csv")
    assert read_impressions(tmp_path / "log.csv", item_ids).tolist() == [1, 0, 2]
    # Numbers in the file match ids that are text.
    pyarrow.csv.write_csv(pa.table({"film": [2, 2, 1]}), tmp_path / "numbers.csv")
    assert read_impressions(tmp_path / "numbers.csv", np.array(["1", "2"], object)).tolist() == [1, 2]


def test_ids_in_a_csv_file_of_impressions_are_what_is_written_there(tmp_path):
    item_ids = np.array(["00000012", "007", "7", "NA"], object)
    (tmp_path / "counts.csv").write_text("user,impressions,item_id\n1,5,00000012\n1,6,7\n2,2,NA\n")
    assert read_impressions(tmp_path / "counts.csv", item_ids).tolist() == [5, 0, 6, 2]
    (tmp_path / "log.csv").write_text("film,user\n007,1\n00000012,2\n007,3\n")
    assert read_impressions(tmp_path / "log.csv", item_ids).tolist() == [1, 2, 0, 0]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"item_id": ["a"], "impressions": [-1]}, "row 0 .counted from 0. has -1"),
        ({"item_id": ["a"], "impressions": [1.5]}, "expected whole numbers, found double"),
        ({"item_id": ["a", "b", "a"], "impressions": [1, None, None]}, r"row 1 .* is null \(null rows: 2\)"),
        ({"item_id": pa.array([], pa.string()), "impressions": pa.array([], pa.int64())}, "empty; give a table"),
        ({"item_id": ["x"], "impressions": [1]}, "no id in the column .item_id. is an id of the 2 items"),
        ({"item_id": pa.array([None], pa.string())}, "1 id is null; remove such rows"),
        ({"item_id": pa.array([], pa.string())}, "empty; give a table"),
        ({"item_id": ["a", "x"], "impressions": [0, 9]}, "no item has an impression, so there is nothing to fit"),
        ({"item_id": ["a", "b"], "impressions": [2**63 - 1, 2**63 - 1]}, "the sum of all impressions is above 2.62"),
    ],
)
def test_impressions_that_say_nothing_are_refused(columns, words, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "seen.parquet")
    with pytest.raises(UserError, match=words):
        read_impressions(tmp_path / "seen.parquet", np.array(["a", "b"], object))


def test_the_command_writes_and_refuses_in_one_line(versions, tmp_path):
    pq.write_table(pa.table({"item_id": NAMES[:9], "impressions": [50] * 9}), tmp_path / "seen.parquet")
    words = ["-m", "sid_jax", "features", f"--ids={versions / 'v1'}", f"--impressions={tmp_path / 'seen.parquet'}"]
    done = run(*words, "--rows=20", f"--out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert re.search("items +│ +30 │", done.stdout) and (tmp_path / "out" / "pieces.model").exists()
    assert rows_by_item(tmp_path / "out").keys() == set(NAMES[:30])
    assert "set --rows to at least" in refused(run(*words, "--rows=3", f"--out={tmp_path / 'other'}"))
    assert not (tmp_path / "other").exists()
    words = ["-m", "sid_jax", "features", f"--ids={versions / 'v2'}", f"--fitted={tmp_path / 'out'}"]
    told = refused(run(*words, "--kind=prefix", "--nohashed", f"--out={tmp_path / 'other'}"))
    empty = run(*words[:-1], "--rows=9", "--impressions=", f"--out={tmp_path / 'other'}")
    assert "--impressions is empty, perhaps because a variable is not set" in refused(empty)
    assert "--kind, --hashed cannot be combined with --fitted" in told and "omit --kind, --hashed" in told


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "bigram", "num_rows": 9}, "choose one of sentencepiece"),
        ({"kind": "prefix", "num_rows": 1}, "at least 2"),
        ({"kind": "random", "num_rows": 2**31}, "row numbers have 31 bits; set at most 2147483647"),
        ({"kind": "random", "num_rows": 9, "seed": 2**64}, "set a whole number from 0 to 2.64 - 1"),
        ({"fitted": "v1"}, "has no features"),
        ({"fitted": "nowhere"}, "nowhere: no such folder; give the folder of an export"),
        ({"fitted": "v1/ids.csv"}, "ids.csv is not a folder; give the folder of an export"),
        ({"fitted": "."}, "manifest.json is missing"),
        ({"fitted": "v1", "num_rows": 9}, "cannot be combined with --fitted"),
    ],
)
def test_what_cannot_be_made_is_refused(settings, words, versions, tmp_path):
    if "fitted" in settings:
        settings = {**settings, "fitted": versions / settings["fitted"]}
    with pytest.raises(UserError, match=words):
        make_features(str(versions / "v1"), tmp_path / "out", messages=SILENT, **settings)
    assert not (tmp_path / "out").exists()


def test_features_that_were_edited_are_refused(versions, tmp_path):
    make_features(str(versions / "v1"), tmp_path / "f1", kind="prefix", num_rows=40, messages=SILENT)
    (tmp_path / "f1" / "ngrams.json").write_text('{"num_rows": 90, "spans": [[0,1],[0,2],[0,3]]}')
    with pytest.raises(UserError, match="export again"):
        make_features(str(versions / "v2"), tmp_path / "f2", fitted=tmp_path / "f1", messages=SILENT)


def test_ids_of_another_training_get_no_rows_of_the_features_of_before(versions, tmp_path, caplog):
    make_features(str(versions / "v1"), tmp_path / "f1", num_rows=40, messages=SILENT)
    make_export(tmp_path / "other", NAMES[:30], made_vectors(range(30)), seed=1)
    for ids in (tmp_path / "other", tmp_path / "other" / "ids.csv"):
        words = "30 items in both ID tables have new IDs, and therefore other rows .*without --fitted"
        with pytest.raises(UserError, match=words):
            make_features(str(ids), tmp_path / "f2", fitted=tmp_path / "f1", messages=SILENT)
    # If the two ID tables have no item in common, the codebooks are compared.
    make_export(tmp_path / "new", NAMES[30:], made_vectors(range(20)), seed=1)
    with pytest.raises(UserError, match="new has other codebooks"):
        make_features(str(tmp_path / "new"), tmp_path / "f2", fitted=tmp_path / "f1", messages=SILENT)
    moved = read_id_table(versions / "v1").semantic_ids.copy()
    moved[[0, 1]] = moved[[1, 0]]
    (tmp_path / "moved.json").write_text(json.dumps(dict(zip(NAMES, moved.tolist(), strict=False))))
    make_features(str(tmp_path / "moved.json"), tmp_path / "f3", fitted=tmp_path / "f1", messages=SILENT)
    assert "2 of the 30 items in both ID tables have new IDs, and therefore other rows" in caplog.text
