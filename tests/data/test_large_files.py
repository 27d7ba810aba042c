"""Many files, and files larger than memory is to hold, are the vectors that one small file would be."""

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


def test_wrong_values_ids_and_a_folder_that_cannot_be_written(shards, tmp_path):
    np.save(tmp_path / "inf.npy", np.where(np.arange(90)[:, None] == 70, 1e300, VECTORS.astype(np.float64)))
    with pytest.raises(UserError, match=r"inf.npy: row 70 \(counted from 0, id 70\) has inf as float32"):
        load(tmp_path / "inf.npy", tmp_path, 100)
    assert not list((tmp_path / "cache" / "vectors").iterdir())
    pq.write_table(pq.read_table(shards / "0.parquet").slice(3, 1), shards / "9.parquet")
    with pytest.raises(UserError, match="id 'i3' is in row 3 and again in row 90"):
        load(shards / "*.parquet", tmp_path)
    numbers = pa.table({"item_id": [1], "vector": pa.array([[1.0] * 4], pa.list_(pa.float32()))})
    pq.write_table(numbers, shards / "9.parquet")
    with pytest.raises(UserError, match="ids of some files are int64, of others string"):
        load(shards / "*.parquet", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written .*resident_bytes"):
        load(shards / "1.parquet", tmp_path, 100, cache_dir=str(tmp_path / "file"))
