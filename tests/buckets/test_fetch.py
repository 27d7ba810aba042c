"""Inputs in buckets are read like files on a disk."""

import errno
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_jax import UserError
from sid_jax.buckets.place import Place
from sid_jax.config import default_config
from sid_jax.data.history_files import read_histories
from sid_jax.data.listing import find_files, find_ids_files, whole_names
from sid_jax.data.load import load_vectors
from sid_jax.data.parts.part import identity
from sid_jax.data.vector_files import read_vector_files
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.failures import in_one_line
from sid_jax.paths import as_path, local_path
from tests.buckets.conftest import write

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)
COLUMNS = ("user_id", "item_id", "timestamp")


def parquet(rows, **columns):
    file = io.BytesIO()
    made = {"item_id": rows, "vector": pa.array(VECTORS[rows].tolist(), pa.list_(pa.float32())), **columns}
    pq.write_table(pa.table(made), file, row_group_size=1)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_an_object_is_copied_once_and_again_when_it_changes(bucket, tmp_path):
    write("memory://b/in/vectors.npy", npy(VECTORS))
    path = as_path("memory://b/in/vectors.npy")
    assert path.name == "vectors.npy" and np.array_equal(np.load(path), VECTORS)
    written = path.stat().st_mtime_ns
    assert as_path("memory:/b/in/vectors.npy") == path and path.stat().st_mtime_ns == written
    write("memory://b/in/vectors.npy", npy(VECTORS + 1))
    newer = as_path("memory://b/in/vectors.npy")
    assert newer != path and np.array_equal(np.load(newer), VECTORS + 1)
    assert [each.name for each in newer.parents[1].iterdir()] == [newer.parent.name], "the older copy was not deleted"


def test_a_full_disk_of_the_cache_is_not_called_a_failure_of_the_network(bucket, monkeypatch):
    write("memory://b/in/vectors.npy", npy(VECTORS))

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("fsspec.implementations.memory.MemoryFileSystem.get", full)
        with pytest.raises(UserError, match="cannot be copied to .*No space left.*SID_JAX_CACHE"):
            as_path("memory://b/in/vectors.npy")
    assert np.array_equal(np.load(as_path("memory://b/in/vectors.npy")), VECTORS)


def test_vectors_and_ids_of_objects_are_those_of_the_files(bucket):
    write("memory://b/vectors.npy", npy(VECTORS))
    write("memory://b/ids.txt", "a\nb\nc\nd\n")
    data = read_vector_files("memory://b/vectors.npy", ids_paths=["memory://b/ids.txt"])
    assert data.ids.tolist() == ["a", "b", "c", "d"] and np.array_equal(data.vectors, VECTORS)


@pytest.mark.parametrize("text", ["memory://b/in", "memory://b/in/", "memory://b/in/*.parquet", "LIST"])
def test_parquet_files_are_read_in_the_bucket_without_a_copy(bucket, tmp_path, text):
    write("memory://b/in/part-0.parquet", parquet([2, 3], title=["c", "d"]))
    write("memory://b/in/part-1.parquet", parquet([0, 1], title=["a", "b"]))
    write("memory://b/in/_SUCCESS", "")
    text = text.replace("LIST", "memory://b/in/part-0.parquet, memory://b/in/part-1.parquet")
    settings = default_config().data
    settings.path, settings.columns = text, "title"
    data = load_vectors(settings)
    assert data.columns["title"].to_pylist() == ["c", "d", "a", "b"]
    assert data.ids.tolist() == [2, 3, 0, 1] and np.array_equal(data.vectors, VECTORS[[2, 3, 0, 1]])
    assert not (tmp_path / "cache").exists()
    # Vectors that exceed the memory limit are written to one file in the cache. The second call reads this file.
    limited = [read_vector_files(text, resident_bytes=1) for _ in range(2)]
    assert all(np.array_equal(each.vectors, data.vectors) for each in limited)
    assert [path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [".npy"]


def test_a_pattern_takes_what_matches_in_the_order_of_the_names(bucket):
    for name in ("b.npy", "a.npy", "c.csv"):
        write(f"memory://b/in/{name}", npy(VECTORS))
    found = find_files("memory://b/in/*.npy", (".npy",))
    assert [path.name for path in found] == ["a.npy", "b.npy"]
    assert [name.rpartition("/")[2] for name in find_ids_files("memory://b/in/*.csv")] == ["c.csv"]


def test_a_folder_leaves_hidden_objects_and_other_folders_out(bucket):
    for name in ("date=1/a.csv", "b.csv", ".b.csv", "_c.csv", "old/d.csv"):
        write(f"memory://b/in/{name}", "x,y\n1,2\n")
    assert [path.name for path in find_files("memory://b/in", (".csv",))] == ["b.csv", "a.csv"]


def test_histories_and_id_tables_of_objects_are_read_with_the_list_of_ids_beside_them(bucket):
    write("memory://b/seen.csv", "user_id,item_id,timestamp\nu,1,5\nu,0,4\n")
    assert read_histories("memory://b/seen.csv", np.arange(2), COLUMNS).items.tolist() == [0, 1]
    write("memory://b/ids.json", '{"0": [7, 1], "1": [7, 2]}')
    assert read_id_table(*parse_id_source("memory://b/ids.json+1")).item_ids.tolist() == [1, 2]
    beside = io.BytesIO()
    pq.write_table(pa.table({"number": [0, 1], "item_id": ["x", "y"]}), beside)
    write("memory://b/item_ids.parquet", beside.getvalue())
    assert read_id_table("memory://b/ids.json").item_ids.tolist() == ["x", "y"]
    write("memory://c/ids.json", '{"0": [7, 1], "1": [7, 2]}')
    write("memory://c/item_ids.txt", "v\nw\n")
    assert read_id_table("memory://c/ids.json").item_ids.tolist() == ["v", "w"]


def test_a_long_copy_of_listed_files_is_announced(bucket, monkeypatch, caplog):
    listed = {"a.bin": {"bytes": 3_000}, "b.bin": {"bytes": 2_000}}
    write("memory://b/export/manifest.json", json.dumps({"files": listed}))
    for name, about in listed.items():
        write(f"memory://b/export/{name}", bytes(about["bytes"]))
    monkeypatch.setattr("sid_jax.buckets.fetch._ANNOUNCED_BYTES", 4_999)
    path = as_path("memory://b/export")
    assert "copying memory://b/export (0.0 GB) to" in caplog.text
    assert (path / "a.bin").stat().st_size == 3_000
    caplog.clear()
    monkeypatch.setattr("sid_jax.buckets.fetch._ANNOUNCED_BYTES", 5_000)
    write("memory://b/export/manifest.json", json.dumps({"files": listed, "version": 2}))
    assert as_path("memory://b/export") != path and "copying" not in caplog.text


def test_an_address_stays_an_address_in_the_record_of_a_run(bucket):
    assert whole_names("memory://b/in/*.parquet, s3://c/d.npy") == "memory://b/in/*.parquet,s3://c/d.npy"


def test_the_identity_of_an_object_changes_with_its_content(bucket):
    write("memory://b/a.parquet", parquet([0]))
    before = identity("memory://b/a.parquet"), identity(str(as_path("memory://b/a.parquet")))
    assert before == (identity("memory://b/a.parquet"), identity(str(as_path("memory://b/a.parquet"))))
    write("memory://b/a.parquet", parquet([1]))
    after = identity("memory://b/a.parquet"), identity(str(as_path("memory://b/a.parquet")))
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert all(each[0] == "memory://b/a.parquet" for each in (*before, *after))


def test_errors_name_the_address(bucket, monkeypatch):
    for text in ("memory://b/none.npy", "memory://b/none/*.npy", "memory://none"):
        with pytest.raises(UserError, match=r"memory://\S*none\S*: no such file or folder in the bucket"):
            as_path(text)
    write("memory://b/bad.npy", "no array")
    with pytest.raises(UserError) as caught:
        read_vector_files("memory://b/bad.npy")
    assert in_one_line(caught.value).startswith("memory://b/bad.npy: not a readable")
    write("memory://b/bad.parquet", "no table")
    with pytest.raises(UserError, match=r"memory://b/bad\.parquet: not a readable \.parquet file"):
        read_vector_files("memory://b/bad.parquet")
    with pytest.raises(UserError, match="memory:// cannot be used here; mount"):
        local_path("memory://b/x")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            PermissionError("Forbidden"),
            r"access is denied \(Forbidden\); use credentials with access: set AWS_ACCESS_KEY_ID",
        ),
        (RuntimeError("Unable to locate credentials"), "no credentials found .* set AWS_ACCESS_KEY_ID"),
        (
            TimeoutError("no answer"),
            r"cannot be read \(TimeoutError: no answer\); check the address and the network",
        ),
        (
            ImportError("Install s3fs"),
            r"addresses with s3:// need the package s3fs .*; run pip install 'sid_jax\[s3\]'",
        ),
    ],
)
def test_the_failures_of_a_store_are_one_line_that_says_what_to_do(bucket, monkeypatch, error, says):
    def fail(*_, **__):
        raise error

    class Failing:
        info = ls = cat_file = fail

        def invalidate_cache(self):
            if isinstance(error, ImportError):
                raise error

    monkeypatch.setattr("fsspec.core.url_to_fs", lambda address: (Failing(), "c/x"))
    with pytest.raises(UserError, match=says) as caught:
        Place("s3://c/x").file()
    assert str(caught.value).startswith("s3://c/x: ") and "\n" not in str(caught.value)
