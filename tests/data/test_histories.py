from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.data.catalogs.movielens.tables import build_movielens
from sid_jax.data.histories import Histories, keep_active
from sid_jax.data.history_files import read_histories, read_interactions, read_sequences
from sid_jax.data.make_histories import in_catalog
from sid_jax.data.tfrecord import write_tfrecords
from sid_jax.errors import UserError

CATALOG = np.array([10, 20, 30, 40])


def make(*sequences: list[int], num_items: int = 10) -> Histories:
    lengths = [len(sequence) for sequence in sequences]
    return Histories(
        user_ids=np.arange(len(sequences)),
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        items=np.array([item for sequence in sequences for item in sequence], np.int32),
        item_ids=np.arange(num_items),
    )


def lists(histories: Histories) -> list[list[int]]:
    return [histories.of(row).tolist() for row in range(len(histories))]


def named(histories: Histories) -> dict[object, list[object]]:
    """Returns the ids of each user's items."""
    return {
        user: histories.item_ids[histories.of(row)].tolist() for row, user in enumerate(histories.user_ids.tolist())
    }


def sequences_of_users() -> st.SearchStrategy[list[list[int]]]:
    return st.lists(st.lists(st.integers(0, 9), max_size=9), max_size=6)


@given(sequences_of_users(), st.integers(0, 4), st.integers(1, 5))
def test_parts_of_histories_are_slices(sequences: list[list[int]], n: int, window: int):
    histories = make(*sequences)
    assert len(histories) == len(sequences)
    assert histories.lengths.tolist() == [len(sequence) for sequence in sequences]
    assert lists(histories) == sequences
    assert lists(histories.without_last(n)) == [sequence[: max(len(sequence) - n, 0)] for sequence in sequences]
    padded, lengths = histories.without_last(n).padded(np.arange(len(sequences)), window)
    assert padded.dtype == lengths.dtype == np.int32
    assert padded.shape == (len(sequences), window)
    for row, length, sequence in zip(padded.tolist(), lengths.tolist(), sequences, strict=True):
        wanted = sequence[: max(len(sequence) - n, 0)][-window:]
        assert row == wanted + [0] * (window - len(wanted))
        assert length == len(wanted)


def test_padded_takes_rows_in_the_order_asked_for():
    padded, lengths = make([1, 2, 3], [4], [5, 6]).padded(np.array([2, 0, 2]), 2)
    assert padded.tolist() == [[5, 6], [2, 3], [5, 6]]
    assert lengths.tolist() == [2, 2, 2]


def test_users_and_interactions_are_kept_by_what_is_said():
    histories = make([1, 2, 3], [4], [], [5, 6])
    kept = histories.keep_users(np.array([True, False, True, True]))
    assert lists(kept) == [[1, 2, 3], [], [5, 6]]
    assert kept.user_ids.tolist() == [0, 2, 3]
    assert lists(histories.keep_interactions(histories.items % 2 == 0)) == [[2], [4], [], [6]]


def test_active_users_have_as_many_interactions_as_asked_for():
    histories = keep_active(make([1, 2, 3], [4], [5, 6]), 2)
    assert histories.user_ids.tolist() == [0, 2]
    assert lists(histories) == [[1, 2, 3], [5, 6]]
    with pytest.raises(UserError, match=r"no user has 4 or more interactions \(the longest history has 3\)"):
        keep_active(make([1, 2, 3], [4]), 4)


def test_fingerprint_tells_histories_apart():
    histories = make([1, 2, 3], [4])
    same = [histories, make([1, 2, 3], [4])]
    others = [
        make([1, 2], [3, 4]),
        make([1, 3, 2], [4]),
        make([1, 2, 3], [4], num_items=11),
        Histories(np.array([0, 2]), histories.offsets, histories.items, histories.item_ids),
        Histories(np.array(["0", "1"], object), histories.offsets, histories.items, histories.item_ids),
    ]
    assert len({each.fingerprint() for each in same}) == 1
    assert len({each.fingerprint() for each in [histories, *others]}) == 1 + len(others)


def write(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(read: object, *args: object) -> str:
    with pytest.raises(UserError) as caught:
        read(*args)  # type: ignore[operator]
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_sequences_are_read_line_by_line(tmp_path: Path):
    path = write(tmp_path, "s.txt", "007 20 10 20\r\nAda\t40  30 \n\n")
    histories = read_sequences(path, CATALOG)
    assert named(histories) == {"007": [20, 10, 20], "Ada": [40, 30]}
    assert histories.items.dtype == np.int32
    assert histories.offsets.dtype == np.int64


def test_ids_in_text_are_matched_exactly(tmp_path: Path):
    catalog = np.array(["B01", "b01", "1", "01"], dtype=object)
    histories = read_sequences(write(tmp_path, "s.txt", "u 01 b01 1 B01"), catalog)
    assert histories.items.tolist() == [3, 1, 2, 0]
    assert "line 1: item '010'" in refusal(read_sequences, write(tmp_path, "s.txt", "u 010"), CATALOG)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty; give a file"),
        ("\n \n", "empty; give a file"),
        ("u 10\nv\nw 20", "line 2 has no item"),
        ("u 10\n\nw 20", "line 2 has no item"),
        ("u 10\nv 20\nu 30", "lines 1 and 3 both have user 'u'"),
        (
            "u 10\nv 20 99 10\nw 98 98",
            "line 2: item '99' is not in the catalog, whose ids look like '10'; 3 of",
        ),
    ],
)
def test_sequences_that_make_no_sense_are_refused(tmp_path: Path, text: str, expected: str):
    path = write(tmp_path, "s.txt", text)
    message = refusal(read_sequences, path, CATALOG)
    assert expected in message
    assert str(path) in message


def test_sequences_that_are_no_text_are_refused(tmp_path: Path):
    (tmp_path / "s.txt").write_bytes(b"u \xff\xfe")
    assert "cannot be read as UTF-8 text" in refusal(read_sequences, tmp_path / "s.txt", CATALOG)
    assert "No such file or directory" in refusal(read_sequences, tmp_path / "none.txt", CATALOG)


COLUMNS = ("user", "item", "time")
SHUFFLED = {"user": [9, 10, 9, 10, 9], "item": [10, 20, 30, 40, 20], "time": [5, 1, 3, 0, 3]}


def save(tmp_path: Path, **columns: object) -> Path:
    path = tmp_path / "i.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_interactions_are_sorted_by_user_and_time_and_item(tmp_path: Path):
    histories = read_interactions(save(tmp_path, rating=[1] * 5, **SHUFFLED), CATALOG, *COLUMNS)
    assert named(histories) == {9: [20, 30, 10], 10: [40, 20]}
    assert histories.num_tied == 2
    assert histories.user_ids.dtype == np.int64
    assert histories.items.dtype == np.int32


def test_csv_keeps_ids_as_they_are_written(tmp_path: Path):
    rows = ["item,stars,time,user", "01,5,9,007", '"1",4,10,7', "1,3,8.5,007", "NA,3,11,7"]
    catalog = np.array(["1", "01", "NA"], dtype=object)
    histories = read_interactions(write(tmp_path, "i.csv", "\n".join(rows)), catalog, *COLUMNS)
    assert named(histories) == {"007": ["1", "01"], "7": ["1", "NA"]}


@pytest.mark.parametrize(
    "times",
    [
        pa.array([2, 0, 1], pa.uint8()),
        pa.array([2.5, -1.0, 0.0]),
        pa.array([datetime.date(2014, 5, 2), datetime.date(1969, 1, 1), datetime.date(2014, 5, 1)]),
        pa.array([2, 0, 1], pa.timestamp("ms", tz="UTC")),
    ],
)
@pytest.mark.parametrize("users", [pa.array(["b"] * 3), pa.array(["b"] * 3).dictionary_encode(), pa.array([7] * 3)])
def test_parquet_times_and_ids_may_be_of_several_types(tmp_path: Path, times: pa.Array, users: pa.Array):
    path = save(tmp_path, user=users, item=pa.array([10, 20, 30], pa.uint32()), time=times)
    histories = read_interactions(path, CATALOG, *COLUMNS)
    assert named(histories) == {users[0].as_py(): [20, 30, 10]}


def test_csv_times_may_be_dates(tmp_path: Path):
    text = "user,item,time\nu,10,2014-05-02 10:00:00\nu,20,2014-05-02 09:00:00\n"
    assert named(read_interactions(write(tmp_path, "i.csv", text), CATALOG, *COLUMNS)) == {"u": [20, 10]}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=20))
def test_files_of_both_kinds_and_python_agree(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, ...]]):
    tmp_path = tmp_path_factory.mktemp("interactions")
    wanted: dict[object, list[object]] = {}
    for user, item, _ in sorted(rows, key=lambda row: (row[0], row[2], row[1])):
        wanted.setdefault(user, []).append(int(CATALOG[item]))
    users, items, times = (list(column) for column in zip(*rows, strict=True))
    parquet = save(tmp_path, user=users, item=CATALOG[items].tolist(), time=times)
    assert named(read_interactions(parquet, CATALOG, *COLUMNS)) == wanted
    lines = [f"{user},{CATALOG[item]},{time}" for user, item, time in rows]
    csv = write(tmp_path, "i.csv", "\n".join(["user,item,time", *lines]))
    assert named(read_interactions(csv, CATALOG, *COLUMNS)) == {str(user): items for user, items in wanted.items()}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"item": [10, 20, 99, 98, 99]}, "row 2 (counted from 0): item '99' is not in the catalog"),
        ({"item": [10, 20, 99, 98, 99]}, "3 of 5 interactions have unknown items"),
        ({"user": [9, None, 9, None, 9]}, "column 'user': row 1 (counted from 0) is null (null rows: 2)"),
        ({"time": [1, 2, 3, 4, None]}, "column 'time': row 4 (counted from 0) is null (null rows: 1)"),
        (
            {"time": [1.0, float("nan"), 3.0, 4.0, 5.0]},
            "column 'time': row 1 (counted from 0) is NaN (NaN or infinite rows: 1)",
        ),
        ({"time": ["9", "10", "8", "7", "soon"]}, "expected times that are numbers, dates or timestamps, found string"),
        ({"user": [0.5] * 5}, "column 'user': expected ids that are strings or integers, found double"),
        ({"user": pa.array([2**63] * 5, pa.uint64())}, "column 'user': an id is too large"),
        ({name: [] for name in SHUFFLED}, "has no rows"),
    ],
)
def test_interactions_that_make_no_sense_are_refused(tmp_path: Path, change: dict[str, object], expected: str):
    path = save(tmp_path, **{**SHUFFLED, **change})
    message = refusal(read_interactions, path, CATALOG, *COLUMNS)
    assert expected in message
    assert str(path) in message


def test_columns_are_refused_by_name(tmp_path: Path):
    for path in (save(tmp_path, **SHUFFLED), write(tmp_path, "i.csv", "user,item,time\n1,10,5\n")):
        message = refusal(read_interactions, path, CATALOG, "user", "movie", "time")
        assert "no column 'movie'; its columns are user, item, time" in message
        assert "different columns" in refusal(read_interactions, path, CATALOG, "user", "user", "time")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path):
    assert "unknown kind of file '.json'; give one of .parquet, .feather, .arrow, .csv" in refusal(
        read_interactions, tmp_path / "i.json", CATALOG, *COLUMNS
    )
    assert "no such file" in refusal(read_interactions, tmp_path / "i.csv", CATALOG, *COLUMNS)
    for name, text in (("i.parquet", "nonsense"), ("i.csv", ""), ("i.csv", "user,item,time\nu,10\n")):
        path = write(tmp_path, name, text)
        assert f"not a readable {path.suffix} file" in refusal(read_interactions, path, CATALOG, *COLUMNS)
    path = write(tmp_path, "i.csv", "user,item,time\nu,,5\n")
    assert "column 'item': row 0 (counted from 0) is null" in refusal(read_interactions, path, CATALOG, *COLUMNS)
    path = write(tmp_path, "i.csv", "user,item,time\n")
    assert "has no rows" in refusal(read_interactions, path, CATALOG, *COLUMNS)


def test_every_movielens_rating_is_an_interaction():
    ratings = {
        "user_id": np.array([5, 2, 5, 5]),
        "item_id": np.array([30, 10, 10, 20]),
        "rating": np.array([1, 5, 3, 4]),
        "timestamp": np.array([7, 1, 7, 2]),
    }
    items = {"item_id": np.array([30, 20, 10, 40])}
    catalog = build_movielens(items, {"user_id": np.array([2, 3, 5])}, ratings, "made up")
    for item_ids in (np.array([10, 20, 30, 40]), np.array([30, 5, 10, 20]), np.array(["20", "10", "30"], dtype=object)):
        histories = in_catalog(catalog.histories(), item_ids, "made up: film")
        assert histories.item_ids.tolist() == item_ids.tolist()
        assert {user: list(map(int, items)) for user, items in named(histories).items()} == {2: [10], 5: [20, 30, 10]}
    assert "made up: film 20 is not in the catalog" in refusal(
        in_catalog, catalog.histories(), np.array([10, 30]), "made up: film"
    )


@pytest.mark.parametrize("records", [[], [{"user_id": [7], "sequence_data": []}]])
def test_a_file_in_which_no_user_has_an_item_is_refused(tmp_path: Path, records):
    write_tfrecords(tmp_path / "a.tfrecord", records)
    (tmp_path / "a.json").write_text(json.dumps({record["user_id"][0]: [] for record in records}))
    for name in ("a.tfrecord", "a.json"):
        with pytest.raises(UserError, match=f"{name}: no user has an item"):
            read_histories(tmp_path / name, np.arange(9), ("user_id", "item_id", "timestamp"))
