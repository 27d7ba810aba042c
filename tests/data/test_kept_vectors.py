"""Vectors larger than the memory limit are written to a memory-mapped file in the cache folder."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_jax.data.load import load_vectors
from sid_jax.errors import UserError
from tests.data.test_load import data_config

VECTORS = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)


@pytest.fixture
def shards(tmp_path):
    for number in range(3):
        rows = slice(30 * number, 30 * (number + 1))
        lists = pa.array(list(VECTORS[rows]), pa.list_(pa.float32()))
        table = pa.table({"item_id": [f"i{n}" for n in range(90)[rows]], "vector": lists})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=20)
    return tmp_path


def load(path, tmp_path, resident_bytes=None, **settings):
    settings = {"path": str(path), "cache_dir": str(tmp_path / "cache"), **settings}
    return load_vectors(data_config(**settings), resident_bytes=resident_bytes)


@pytest.mark.parametrize("resident_bytes", [None, VECTORS.nbytes, VECTORS.nbytes - 1])
@pytest.mark.parametrize("names", ["", "*.parquet"])
def test_a_folder_and_a_pattern(shards, names, resident_bytes):
    for _ in range(2):
        found = load(shards / names, shards, resident_bytes)
        assert found.ids.tolist() == [f"i{n}" for n in range(90)]
        np.testing.assert_array_equal(found.vectors, VECTORS)
        assert found.vectors.dtype == np.float32
    kept = list((shards / "cache").rglob("*")) if (shards / "cache").exists() else []
    assert len([path for path in kept if path.is_file()]) == (resident_bytes == VECTORS.nbytes - 1)


def test_one_file_that_is_too_large_and_is_no_npy_of_float32(shards, tmp_path):
    np.save(tmp_path / "half.npy", VECTORS.astype(np.float16))
    (tmp_path / "ids.txt").write_text("\n".join(f"x{n}" for n in range(90)))
    found = load(tmp_path / "half.npy", tmp_path, 100, ids_path=str(tmp_path / "ids.txt"))
    assert found.ids[89] == "x89"
    np.testing.assert_array_equal(found.vectors, VECTORS.astype(np.float16).astype(np.float32))
    found = load(shards / "1.parquet", tmp_path, 100)
    np.testing.assert_array_equal(found.vectors, VECTORS[30:60])
    assert len(list((tmp_path / "cache" / "vectors").iterdir())) == 2


def test_a_file_that_has_changed_is_read_anew(tmp_path):
    np.save(tmp_path / "v.npy", VECTORS.astype(np.float64))
    load(tmp_path / "v.npy", tmp_path, 100)
    np.save(tmp_path / "v.npy", 2 * VECTORS[:80].astype(np.float64))
    np.testing.assert_array_equal(load(tmp_path / "v.npy", tmp_path, 100).vectors, 2 * VECTORS[:80])


def test_a_folder_that_cannot_be_written(shards, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*resident_bytes"):
        load(shards / "1.parquet", tmp_path, 100, cache_dir=str(tmp_path / "file"))
