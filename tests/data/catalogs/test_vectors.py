from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ml_collections import ConfigDict

from sid_jax.config import default_config
from sid_jax.data.load import load_vectors
from sid_jax.data.text.encode import encode_texts
from sid_jax.errors import UserError
from tests.data.catalogs.amazon.files import write_edition, write_prepared


@pytest.fixture
def settings(tmp_path: Path) -> ConfigDict:
    data = default_config().data
    data.cache_dir = str(tmp_path / "cache")
    return data


@pytest.fixture
def own(tmp_path: Path, settings: ConfigDict) -> ConfigDict:
    """Settings for a user's own table, in which two items have equal texts and one has no text."""
    rows = [
        {"sku": "007", "title": "Nail Lacquer", "tags": ["red", "gloss"], "price": 3.5},
        {"sku": "b", "title": "Nail Lacquer", "tags": ["red", "gloss"], "price": 4.0},
        {"sku": "c", "title": None, "tags": [], "price": None},
    ]
    path = tmp_path / "items.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    settings.path, settings.id_column, settings.text_column = str(path), "sku", "title,tags"
    return settings


def test_own_texts(own: ConfigDict):
    own.columns = "title, price"
    data = load_vectors(own)
    assert data.ids.tolist() == ["007", "b", "c"]
    np.testing.assert_array_equal(data.vectors[0], encode_texts(["Title: Nail Lacquer; Tags: red, gloss"])[0])
    np.testing.assert_array_equal(data.vectors[0], data.vectors[1])
    assert not data.vectors[2].any()
    assert data.columns["title"].to_pylist() == ["Nail Lacquer", "Nail Lacquer", None]
    assert data.columns["price"].to_pylist() == [3.5, 4.0, None]
    assert data.columns["price"].type == pa.float64()
    assert load_vectors(own).fingerprint() == data.fingerprint()
    own.text_column = "title"
    np.testing.assert_array_equal(load_vectors(own).vectors[0], encode_texts(["Nail Lacquer"])[0])


def test_own_texts_that_say_nothing_are_refused(tmp_path: Path, own: ConfigDict):
    pq.write_table(pa.table({"sku": ["a"], "title": pa.array([None], pa.string())}), own.path)
    own.text_column = "title"
    with pytest.raises(UserError, match="no item has text in title; set other columns"):
        load_vectors(own)


def test_columns_beside_own_vectors(tmp_path: Path, own: ConfigDict):
    own.text_column, own.columns = "", "price,tags"
    table = pq.read_table(own.path)
    pq.write_table(table.append_column("vector", pa.array([[1.0, 2.0]] * 3)).slice(0, 2), own.path)
    data = load_vectors(own)
    assert data.vectors.tolist() == [[1, 2], [1, 2]]
    assert data.columns["price"].to_pylist() == [3.5, 4.0]
    assert data.columns["tags"].to_pylist() == ["red, gloss"] * 2
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32))
    own.path = str(tmp_path / "v.npy")
    with pytest.raises(UserError, match="v.npy: config.data.columns needs a table"):
        load_vectors(own)


def test_products(tmp_path: Path, settings: ConfigDict):
    settings.source, settings.core = "amazon-2014-beauty", 3
    settings.path = str(write_edition(tmp_path / "raw", "2014"))
    data = load_vectors(settings)
    assert data.ids.tolist() == ["B03", "B01", "B02"]
    text = "Title: Nail Lacquer & Care; Brand: OPI; Categories: Makeup, Nails, Hands"
    np.testing.assert_array_equal(data.vectors[1], encode_texts([text])[0])
    assert {name: column[1].as_py() for name, column in data.columns.items()} == {
        "title": "Nail Lacquer & Care",
        "brand": "OPI",
        "categories": "Makeup, Nails, Hands",
    }
    settings.text_column, settings.columns = "title,price", "price"
    data = load_vectors(settings)
    np.testing.assert_array_equal(data.vectors[1], encode_texts(["Title: Nail Lacquer & Care; Price: 3.5"])[0])
    assert data.columns["price"].to_pylist() == [3.5] * 3
    settings.text_column = "name"
    with pytest.raises(UserError, match="no column 'name'; its columns are item_id, title, brand"):
        load_vectors(settings)


def test_products_with_their_own_histories_by_one_setting(tmp_path: Path, settings: ConfigDict):
    settings.source = settings.histories.source = "amazon-2014-beauty"
    settings.path = str(write_prepared(tmp_path / "prepared"))
    settings.collaborative_dimension, settings.collaborative_holdout = 1, 0
    data = load_vectors(settings)
    assert data.ids.tolist() == [1, 2, 3]
    assert data.vectors.shape == (3, 256 + 1)
    assert data.columns["title"].to_pylist() == ["Nail Lacquer", "", "Cream"]
    settings.histories.source = "none"
    np.testing.assert_array_equal(load_vectors(settings).vectors[1], encode_texts(["Something else"])[0])


def test_histories_of_another_catalog_are_refused(tmp_path: Path, settings: ConfigDict):
    settings.source = settings.histories.source = "amazon-2014-beauty"
    settings.path = str(write_prepared(tmp_path / "prepared"))
    settings.histories.path = str(write_edition(tmp_path / "raw", "2014"))
    settings.core = 3
    with pytest.raises(UserError, match="item 'B03' is not in the catalog, whose ids look like '1'"):
        load_vectors(settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vectors": "collaborative"}, "set config.data.histories.source"),
        ({"view": "user"}, "set config.data.histories.source"),
        ({"source": "amazon-2014-cars"}, "choose one of vectors, movielens-100k"),
        ({"source": "movielens-1m", "text_column": "title"}, "has its own texts"),
        ({"source": "vectors", "text_column": "title", "path": ""}, "data.path is empty"),
    ],
)
def test_settings_that_do_not_fit(settings: ConfigDict, changes: dict, message: str):
    settings.source = "amazon-2014-beauty"
    settings.path = "nowhere"
    settings.update(changes)
    with pytest.raises(UserError, match=message):
        load_vectors(settings)


def test_a_prepared_folder_may_be_read_as_a_table_too(tmp_path: Path, settings: ConfigDict):
    folder = write_prepared(tmp_path / "prepared")
    settings.path, settings.id_column, settings.text_column = str(folder / "items.jsonl"), "item", "text"
    settings.histories.source, settings.histories.path = "sequences", str(folder / "sequences.txt")
    settings.collaborative_dimension, settings.collaborative_holdout = 1, 0
    assert load_vectors(settings).vectors.shape == (3, 257)
    (folder / "items.jsonl").write_text(json.dumps({"item": 1, "text": "\ud800"}))
    settings.histories.source = "none"
    np.testing.assert_array_equal(load_vectors(settings).vectors, encode_texts(["�"]))
