from __future__ import annotations

import gzip
import json
import tracemalloc
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from sid_jax.data.json_records import read_records
from sid_jax.data.tables import exported_column, python_values, read_own_tables
from sid_jax.errors import UserError


def test_json_and_literals_gzipped_or_not(tmp_path: Path):
    records = [{"a": 'it\'s "so" é\u2028 😀'}, {"a": [1, None, True]}]
    for number, lines in enumerate((list(map(json.dumps, records)), list(map(repr, records)))):
        content = ("\n".join(lines) + "\n\n").encode()
        for name, data in (("plain", content), ("packed", gzip.compress(content)), ("misnamed.gz", content)):
            path = tmp_path / f"{number}{name}"
            path.write_bytes(data)
            assert [record for _, record in read_records(path)] == records


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{'a': __import__('os').system('touch evaluated')}\n", "line 1: neither JSON nor a Python dict"),
        (b'{"a": 1}\n{"a": \n', "line 2: neither JSON nor a Python dict"),
        (b"a,b\n1,2\n", "line 1: neither JSON nor a Python dict; download the file again"),
        (b"[1]\n", "line 1: found list"),
        (b"{{'a': 1}}\n", "line 1: neither JSON nor a Python dict"),
        (b"{'a': " + b"[" * 100_000 + b"}\n", "line 1: neither JSON nor a Python dict"),
        (b'{"a": ' + b"[" * 100_000 + b"}\n", "line 1: neither JSON nor a Python dict"),
        (b'{"a": "\xff"}\n', "line 1: neither JSON nor a Python dict"),
        (gzip.compress(b'{"a": 1}\n' * 999, mtime=0)[:-9], "cannot be read after line"),
        (b"\x1f\x8b not a gzip file", "cannot be read after line 0"),
    ],
)
def test_what_is_no_record_is_one_line_and_never_evaluated(tmp_path: Path, monkeypatch, content: bytes, message: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match=message) as refusal:
        list(read_records(tmp_path / "file"))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "evaluated").exists()


def test_a_missing_file(tmp_path: Path):
    with pytest.raises(UserError, match="nowhere: cannot be read"):
        list(read_records(tmp_path / "nowhere"))


def test_memory_does_not_grow_with_the_file(tmp_path: Path):
    path = tmp_path / "large.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for number in range(300):
            file.write(json.dumps({"asin": f"{number}", "text": "x" * 100_000}).encode() + b"\n")
    tracemalloc.start()
    wanted = [record["asin"] for _, record in read_records(path, lambda line: b'"7"' in line)]
    assert wanted == ["7"]
    assert tracemalloc.get_traced_memory()[1] < 3_000_000  # The file has 30 MB uncompressed.
    tracemalloc.stop()


ROWS = [
    {"sku": "007", "title": 'A "quoted", long\ntitle', "price": 3.5},
    {"sku": "NA", "title": "日本語 😀", "price": None},
    {"sku": "x y", "title": None, "price": 4.0},
]


def test_every_kind_of_file_gives_the_same(tmp_path: Path):
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "a.parquet")
    pyarrow.csv.write_csv(table, tmp_path / "a.csv")
    lines = "\n".join(map(json.dumps, ROWS)).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    for name in ("a.parquet", "a.csv", "a.jsonl", "a.jsonl.gz"):
        ids, columns = read_own_tables(str(tmp_path / name), "sku", ["title"])
        assert ids.tolist() == ["007", "NA", "x y"], name
        assert python_values(columns["title"]) == [row["title"] for row in ROWS], name
    _, columns = read_own_tables(str(tmp_path / "a.csv"), "sku", ["price"])
    assert python_values(columns["price"]) == ["3.5", None, "4"]


def test_several_files_in_the_order_of_their_names(tmp_path: Path):
    for number, name in enumerate(("b", "a", "c")):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": number, "t": name}))
    for path in (tmp_path, tmp_path / "*.jsonl"):
        ids, columns = read_own_tables(str(path), "id", ["t"])
        assert ids.tolist() == [1, 0, 2]
        assert ids.dtype == np.int64
        assert columns == {"t": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "the folder has no file of an accepted kind; give .parquet, .feather, .arrow, .csv, .jsonl"),
        ({"a.jsonl": b""}, "a.jsonl: has no rows"),
        ({"a.csv": b"id,t\n"}, "a.csv: has no rows"),
        ({"a.csv": b""}, "a.csv: not a readable .csv file"),
        ({"a.csv": b"id,t\n1,\xff\n"}, "a.csv: not a readable .csv file"),
        ({"a.csv": b"id,\xff\n1,x\n"}, "a.csv: not a readable .csv file"),
        ({"a.csv": b'id,"t\n"\n1,x\n'}, "a.csv: no column 't'; its columns are id, t; correct --config"),
        ({"a.csv": b"id,t\n1,x,y\n"}, "a.csv: not a readable .csv file"),
        ({"a.parquet": b"PAR1"}, "a.parquet: not a readable .parquet file"),
        ({"a.csv": b"id,u\n1,x\n"}, "a.csv: no column 't'; its columns are id, u"),
        ({"a.jsonl": b'{"id": 1, "u": 2}'}, "a.jsonl: no column 't'; its columns are id, u"),
        ({"a.jsonl": b'{"sku": 1, "t": 2}'}, "a.jsonl: no column 'id'; its columns are sku, t"),
        ({"a.jsonl": b'{"id": null, "t": 2}'}, "line 1: 'id' is None"),
        ({"a.jsonl": b'{"id": "\\ud800", "t": 2}'}, "line 1: 'id' is '.ud800'; give text"),
        ({"a.jsonl": b'{"id": 1, "t": 2}\n{"id": 1.5, "t": 2}'}, "line 2: 'id' is 1.5"),
        (
            {"a.jsonl": b'{"id": 1, "t": 2}\n{"id": "1", "t": 2}'},
            "line 2: 'id' is '1', but ids before it have another type",
        ),
        ({"a.jsonl": b'{"id": 99999999999999999999, "t": 2}'}, "too large for a 64-bit integer"),
        ({"a.jsonl": b'{"id": 1, "t": 2}\n{"id": 1, "t": 3}'}, "id 1 is in row 0 and again in row 1"),
        ({"a.csv": b"id,t\n1,x\n,y\n"}, "column 'id'.*null"),
        ({"a.csv": b"id,t\n1,x\n", "b.jsonl": b"{}"}, "contains .csv and .jsonl files"),
        ({"a.jsonl": b'{"id": 1, "t": 2}', "b.jsonl": b'{"id": "x", "t": 2}'}, "text in some files and numbers"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line(tmp_path: Path, files: dict[str, bytes], message: str):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as refusal:
        read_own_tables(str(tmp_path), "id", ["t"])
    assert "\n" not in str(refusal.value)


TYPED = {
    "double": pa.array([1.5, None, -0.0]),
    "bool": pa.array([True, None, False]),
    "integer": pa.array([2**62, None, -1]),
    "timestamp": pa.array([0, None, 10**15], pa.timestamp("us", "UTC")),
    "date": pa.array([0, None, 20_000], pa.date32()),
    "decimal": pa.array([Decimal("3.50"), None, Decimal("0.01")], pa.decimal128(10, 2)),
    "text": pa.array(["", None, "007"]),
    "category": pa.array(["red", None, "red"]).dictionary_encode(),
}


def test_columns_keep_their_types_and_what_is_null_stays_null(tmp_path: Path):
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"id": ["a", "b", "c"], **TYPED}), path)
    _, columns = read_own_tables(str(path), "id", list(TYPED))
    for name, values in TYPED.items():
        for column in (exported_column(columns[name]), exported_column(values)):
            assert column.type == values.type, name
            assert column.to_pylist() == values.to_pylist(), name


def test_columns_of_several_files_may_differ_in_type(tmp_path: Path):
    pq.write_table(pa.table({"id": ["a"], "price": [3]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["b"], "price": [2.5]}), tmp_path / "b.parquet")
    column = exported_column(read_own_tables(str(tmp_path), "id", ["price"])[1]["price"])
    assert (column.type, column.to_pylist()) == (pa.float64(), [3.0, 2.5])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([["red", "gloss"], [], None]), ["red, gloss", "", None]),
        ([1, "a", None, 2.0, ["b", 3]], ["1", "a", None, "2", "b, 3"]),
        (["\ud800", None], ["\ufffd", None]),
        (pa.nulls(2), [None, None]),
        (np.array(["x", "y"], object), ["x", "y"]),
    ],
)
def test_what_has_no_type_of_its_own_in_a_table_is_text(values: object, expected: list[str | None]):
    column = exported_column(values)
    assert (column.type, column.to_pylist()) == (pa.string(), expected)
