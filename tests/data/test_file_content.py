"""The error for a file whose content does not match the ending of its name."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from sid_jax.data.file_content import check_content
from sid_jax.data.history_files import read_histories
from sid_jax.data.id_lists import read_item_list
from sid_jax.data.parts.files import read_ids
from sid_jax.data.tables import read_own_tables
from sid_jax.data.vector_files import read_vector_files
from sid_jax.errors import UserError
from sid_jax.export.id_tables import read_id_table

CATALOG = np.array(["a", "b"], object)
NAMES = ("user_id", "item_id", "timestamp")
TEXT = "user_id,item_id,timestamp\nu,a,1\n"


@pytest.fixture
def contents(tmp_path):
    folder = tmp_path / "contents"
    folder.mkdir()
    vectors = np.eye(2, dtype=np.float32)
    table = pa.table({"item_id": ["a", "b"], "vector": vectors.tolist()})
    pq.write_table(table, folder / "parquet")
    with (folder / "arrow").open("wb") as file:
        pyarrow.feather.write_feather(table, file)
    with (folder / "npy").open("wb") as file:
        np.save(file, vectors)
    with (folder / "npz").open("wb") as file:
        np.savez(file, vectors=vectors)
    (folder / "gzip").write_bytes(gzip.compress(TEXT.encode()))
    (folder / "text").write_text(TEXT)
    (folder / "page").write_text("\ufeff\n<!DOCTYPE html><html><body>Log in</body></html>")
    (folder / "pointer").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    return folder


def histories(path):
    return read_histories(path, CATALOG, NAMES)


def vectors(path):
    return read_vector_files(str(path))


def ids(path):
    return read_ids(path, 2, "vectors.npy")


def items(path):
    return read_own_tables(str(path), "item_id", [])


@pytest.mark.parametrize(
    ("read", "name", "content", "words"),
    [
        (vectors, "a.npy", "parquet", "a Parquet file; give it the ending .parquet"),
        (vectors, "a.parquet", "npy", "a NumPy array; give it the ending .npy"),
        (vectors, "a.pt", "arrow", "an Arrow file; give it the ending .arrow"),
        (vectors, "a.npy", "npz", "a ZIP archive; give it the ending .npz or .pt if NumPy or PyTorch wrote it"),
        (vectors, "a.npy", "gzip", "compressed with gzip; decompress it"),
        (vectors, "a.parquet", "text", "text; write the file again, or give it the ending of its format"),
        (vectors, "a.array_record-00000-of-00002", "parquet", "a Parquet file"),
        (vectors, "a.safetensors", "page", "a web page; download the file again"),
        (vectors, "A.NPY", "pointer", "a Git LFS pointer; download the file with git lfs pull"),
        (ids, "ids.npy", "text", "text"),
        (ids, "ids.txt", "npy", "a NumPy array; give it the ending .npy"),
        (ids, "ids", "parquet", "a Parquet file"),
        (histories, "a.csv", "parquet", "a Parquet file"),
        (histories, "a.parquet", "text", "text"),
        (histories, "a.json", "npy", "a NumPy array"),
        (histories, "a.txt", "gzip", "compressed with gzip"),
        (histories, "a.csv", "pointer", "a Git LFS pointer"),
        (items, "a.csv.gz", "npz", "a ZIP archive"),
        (items, "a.jsonl", "page", "a web page"),
        (read_id_table, "a.csv", "parquet", "a Parquet file"),
        (read_id_table, "a.npz", "npy", "a NumPy array"),
        (lambda path: read_item_list(path, CATALOG), "cold.txt", "parquet", "a Parquet file"),
    ],
)
def test_the_error_says_what_a_file_is_and_what_to_do(read, name, content, words, contents, tmp_path):
    path = shutil.copy(contents / content, tmp_path / name)
    with pytest.raises(UserError) as caught:
        read(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: not a readable ") and f"file: its content is {words}" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv.gz", "text"), ("a.csv.gz", "gzip"), ("a.csv", "gzip"), ("a.csv", "text"), ("a.inter", "text")],
)
def test_content_that_the_readers_accept_is_not_refused(name, content, contents, tmp_path):
    path = shutil.copy(contents / content, tmp_path / name)
    check_content(path)
    if ".csv" in name:
        assert histories(path).of(0).tolist() == [0]


def test_ids_that_begin_as_another_format_are_text(tmp_path):
    (tmp_path / "ids.txt").write_text("PAR1\nPAR2\n" + "ü" * 300)
    check_content(tmp_path / "ids.txt")
    assert read_ids(tmp_path / "ids.txt", 3, "vectors.npy").tolist()[:2] == ["PAR1", "PAR2"]
    # The check leaves unrecognized content, empty files and missing files to the readers, which reject such files.
    (tmp_path / "a.npy").write_bytes(b"\x01\x02")
    (tmp_path / "b.npy").write_bytes(b"")
    for name in ("a.npy", "b.npy", "none.npy"):
        check_content(tmp_path / name)


def test_a_table_of_ids_that_is_no_archive_is_not_taken_for_a_pickle(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"\x01\x02\x03\x04")
    with pytest.raises(UserError, match="not a zip file"):
        read_id_table(tmp_path / "a.npz")
