from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from sid_jax.data.catalogs.records import read_records
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
        (b"{'a': __import__('os').system('touch evaluated')}\n", "line 1 is neither JSON nor a Python dict"),
        (b'{"a": 1}\n{"a": \n', "line 2 is neither JSON nor a Python dict"),
        (b"[1]\n", "line 1 is no record, but list"),
        (b"{'a': " + b"[" * 100_000 + b"}\n", "line 1 is neither JSON nor a Python dict"),
        (b'{"a": ' + b"[" * 100_000 + b"}\n", "line 1 is neither JSON nor a Python dict"),
        (b'{"a": "\xff"}\n', "line 1 is neither JSON nor a Python dict"),
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
    assert tracemalloc.get_traced_memory()[1] < 3_000_000  # Of 30 MB.
    tracemalloc.stop()
