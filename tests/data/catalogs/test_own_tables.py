from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from sid_jax.data.catalogs.own_tables import read_own_tables
from sid_jax.errors import UserError

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
        assert columns == {"title": [row["title"] for row in ROWS]}, name
    assert read_own_tables(str(tmp_path / "a.csv"), "sku", ["price"])[1] == {"price": ["3.5", None, "4"]}


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
        ({}, "no such file; give .parquet, .csv, .jsonl"),
        ({"a.jsonl": b""}, "a.jsonl: holds no rows"),
        ({"a.csv": b"id,t\n"}, "a.csv: holds no rows"),
        ({"a.csv": b""}, "a.csv: not a readable .csv file"),
        ({"a.csv": b"id,t\n1,\xff\n"}, "a.csv: not a readable .csv file"),
        ({"a.csv": b"id,\xff\n1,x\n"}, "a.csv: not a readable .csv file"),
        ({"a.csv": b'id,"t\n"\n1,x\n'}, "a.csv: no column 't'; it has id, t: set"),
        ({"a.csv": b"id,t\n1,x,y\n"}, "a.csv: not a readable .csv file"),
        ({"a.parquet": b"PAR1"}, "a.parquet: not a readable .parquet file"),
        ({"a.csv": b"id,u\n1,x\n"}, "a.csv: no column 't'; it has id, u"),
        ({"a.jsonl": b'{"id": 1, "u": 2}'}, "a.jsonl: no column 't'; it has id, u"),
        ({"a.jsonl": b'{"sku": 1, "t": 2}'}, "a.jsonl: no column 'id'; it has sku, t"),
        ({"a.jsonl": b'{"id": null, "t": 2}'}, "line 1: 'id' is None"),
        ({"a.jsonl": b'{"id": "\\ud800", "t": 2}'}, "line 1: 'id' is '.ud800'; give text"),
        ({"a.jsonl": b'{"id": 1, "t": 2}\n{"id": 1.5, "t": 2}'}, "line 2: 'id' is 1.5"),
        ({"a.jsonl": b'{"id": 1, "t": 2}\n{"id": "1", "t": 2}'}, "line 2: 'id' is '1', unlike the lines before"),
        ({"a.jsonl": b'{"id": 99999999999999999999, "t": 2}'}, "too large for a 64-bit integer"),
        ({"a.jsonl": b'{"id": 1, "t": 2}\n{"id": 1, "t": 3}'}, "id 1 is in row 0 and again in row 1"),
        ({"a.csv": b"id,t\n1,x\n,y\n"}, "column 'id'.*null"),
        ({"a.csv": b"id,t\n1,x\n", "b.jsonl": b"{}"}, "holds .csv and .jsonl files"),
        ({"a.jsonl": b'{"id": 1, "t": 2}', "b.jsonl": b'{"id": "x", "t": 2}'}, "text in some files and numbers"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, files: dict[str, bytes], message: str):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as refusal:
        read_own_tables(str(tmp_path), "id", ["t"])
    assert "\n" not in str(refusal.value)
