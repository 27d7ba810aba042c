from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sid_jax.data.catalogs.movielens.formats import read_grouplens
from sid_jax.data.catalogs.movielens.tables import build_movielens
from sid_jax.data.catalogs.movielens.tfds_cache import read_movielens, write_movielens
from tests.data.conftest import assert_same_catalog, grouplens_files, write_folder


def test_what_was_written_is_read_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    catalog = read_grouplens(write_folder(tmp_path / "data", grouplens_files()))
    write_movielens(catalog, tmp_path / "cache")
    assert_same_catalog(read_movielens(tmp_path / "cache"), catalog)
    assert capfd.readouterr() == ("", "")


def test_changes_of_the_arrays_or_of_the_files_reach_the_next_read_only_if_they_should(tmp_path: Path):
    catalog = read_grouplens(write_folder(tmp_path / "data", grouplens_files()))
    write_movielens(catalog, tmp_path / "cache")
    read_movielens(tmp_path / "cache").ratings["rating"][:] = 0
    assert_same_catalog(read_movielens(tmp_path / "cache"), catalog)
    shutil.rmtree(tmp_path / "cache")
    ratings = {name: column[:-1] for name, column in catalog.ratings.items()}
    shorter = build_movielens(catalog.items, catalog.users, ratings, "here")
    write_movielens(shorter, tmp_path / "cache")
    assert_same_catalog(read_movielens(tmp_path / "cache"), shorter)


def test_many_rows_come_back_in_order(tmp_path: Path):
    small = read_grouplens(write_folder(tmp_path / "data", grouplens_files()))
    generator = np.random.default_rng(0)
    users = {name: np.repeat(column[:1], 300) for name, column in small.users.items()}
    users["user_id"] = np.arange(300)
    ratings = {
        "user_id": generator.integers(0, 300, 5000),
        "item_id": generator.integers(1, 7, 5000),
        "rating": generator.integers(1, 6, 5000),
        "timestamp": generator.integers(0, 20, 5000),
    }
    catalog = build_movielens(small.items, users, ratings, "here")
    write_movielens(catalog, tmp_path / "cache")
    assert_same_catalog(read_movielens(tmp_path / "cache"), catalog)
