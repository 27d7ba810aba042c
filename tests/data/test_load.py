from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from sid_jax.config import default_config
from sid_jax.data.catalogs.movielens.formats import GENRES
from sid_jax.data.catalogs.movielens.tables import MovieLens
from sid_jax.data.load import load_histories, load_vectors
from sid_jax.errors import UserError
from tests.data.conftest import write_folder, write_zip


def data_config(**settings: object) -> ConfigDict:
    config = default_config().data
    config.update(settings)
    return config


def grouplens_copy(catalog: MovieLens) -> dict[str, bytes]:
    items = [
        f"{item_id}|{title}{f' ({year})' if year else ''}||||"
        + "|".join("01"[genre in genres.split("|")] for genre in GENRES)
        for item_id, title, year, genres in zip(*catalog.items.values(), strict=True)
    ]
    users = ["|".join(map(str, row)) for row in zip(*catalog.users.values(), strict=True)]
    ratings = ["\t".join(map(str, row)) for row in zip(*catalog.ratings.values(), strict=True)]
    return {
        "u.item": "\n".join(items).encode("latin-1"),
        "u.user": "\n".join(users).encode("latin-1"),
        "u.data": "\n".join(ratings).encode(),
    }


def test_own_vectors(tmp_path: Path):
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float16))
    (tmp_path / "ids.txt").write_text("a\nb\nc\n")
    found = load_vectors(data_config(path=str(tmp_path / "v.npy"), ids_path=str(tmp_path / "ids.txt")))
    assert found.ids.tolist() == ["a", "b", "c"]
    assert found.id_name == "item_id"
    np.testing.assert_array_equal(found.vectors, np.eye(3))


def test_own_vectors_never_import_tensorflow_datasets(tmp_path: Path):
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32))
    program = f"""
import sys
from sid_jax.config import default_config
from sid_jax.data.load import load_vectors
config = default_config().data
config.path = {str(tmp_path / "v.npy")!r}
load_vectors(config)
print([name for name in ("tensorflow_datasets", "wordllama", "sentence_transformers") if name in sys.modules])
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "movielens"}, "data.source is 'movielens'; choose one of vectors, movielens-100k"),
        ({"source": "movielens-100k", "view": "film"}, "data.view is 'film'; choose one of item, user"),
        ({"source": "movielens-100k", "vectors": "svd"}, "choose one of text, collaborative, text.collaborative"),
        ({}, "data.path is empty"),
    ],
)
def test_unknown_choices_are_refused_before_any_work(settings: dict, message: str):
    with pytest.raises(UserError, match=message):
        load_vectors(data_config(**settings))


@pytest.fixture(scope="module")
def films(real_cache: Path):
    return load_vectors(data_config(source="movielens-100k", cache_dir=str(real_cache)))


def test_films_as_text_vectors(films):
    assert films.vectors.shape == (1682, 256)
    assert films.vectors.dtype == np.float32
    assert films.id_name == "item_id"
    assert {name: column[0].as_py() for name, column in films.columns.items()} == {
        "title": "Toy Story",
        "year": "1995",
        "genres": "Animation|Children's|Comedy",
    }


def test_star_wars_is_near_its_sequels(films):
    unit = films.vectors / np.linalg.norm(films.vectors, axis=1, keepdims=True)
    star_wars = films.columns["title"].to_pylist().index("Star Wars")
    nearest = films.columns["title"].to_numpy()[np.argsort(-unit @ unit[star_wars])[1:4]]
    assert {"Return of the Jedi", "Empire Strikes Back, The"} <= set(nearest)


def test_folder_zip_and_registry_give_the_same_vectors(tmp_path: Path, films, real_movielens: MovieLens):
    files = grouplens_copy(real_movielens)
    folder = write_folder(tmp_path / "ml-100k", files)
    archive = write_zip(tmp_path / "ml-100k.zip", files)
    for path in (folder, tmp_path, archive):
        found = load_vectors(data_config(source="movielens-100k", path=str(path), cache_dir=str(tmp_path / "unused")))
        assert found.fingerprint() == films.fingerprint()
        for name, column in found.columns.items():
            assert column.to_pylist() == films.columns[name].to_pylist()
    assert [path.name for path in (tmp_path / "unused").iterdir()] == ["text"]  # Only the vectors of texts are cached.


def test_films_as_text_and_collaborative_vectors(real_cache: Path, films):
    config = data_config(source="movielens-100k", cache_dir=str(real_cache), vectors="text+collaborative")
    found = load_vectors(config)
    assert found.vectors.shape == (1682, 256 + 64)
    text, collaborative = found.vectors[:, :256], found.vectors[:, 256:]
    for part in (text, collaborative):
        assert np.mean(np.sum(part**2, axis=1)) == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(text / text[0, 0], films.vectors / films.vectors[0, 0], rtol=1e-4, atol=1e-4)
    assert load_vectors(config).fingerprint() == found.fingerprint()


def test_users(real_cache: Path):
    settings = {"source": "movielens-100k", "cache_dir": str(real_cache), "view": "user"}
    text = load_vectors(data_config(**settings))
    assert text.vectors.shape == (943, 256)
    assert text.id_name == "user_id"
    assert {name: column[0].as_py() for name, column in text.columns.items()} == {
        "age": 24,
        "gender": "M",
        "occupation": "technician",
    }
    collaborative = load_vectors(data_config(**settings, vectors="collaborative", collaborative_dimension=16))
    assert collaborative.vectors.shape == (943, 16)


def test_users_of_movielens_have_no_histories_of_items(real_cache: Path):
    config = data_config(source="movielens-100k", view="user", cache_dir=str(real_cache))
    config.histories.source = "movielens-100k"
    with pytest.raises(UserError, match="view=user"):
        load_vectors(config)


def test_films_get_a_second_part_from_who_rated_them(real_cache: Path):
    config = data_config(source="movielens-100k", cache_dir=str(real_cache), collaborative_dimension=16)
    config.histories.source = "movielens-100k"
    found = load_vectors(config)
    assert found.vectors.shape == (1682, 256 + 16)
    second = found.vectors[:, 256:] / np.linalg.norm(found.vectors[:, 256:], axis=1, keepdims=True)
    star_wars, empire, snow_white = (int(np.flatnonzero(found.ids == film)[0]) for film in (50, 172, 99))
    assert second[star_wars] @ second[empire] > second[star_wars] @ second[snow_white]


@pytest.mark.parametrize("source", ["interactions", "sequences"])
def test_the_ending_of_a_table_decides_how_histories_are_read(tmp_path: Path, source: str):
    (tmp_path / "histories.csv").write_text("user_id,item_id,timestamp\nann,1,2\nann,3,1\nbob,2,5\n")
    settings = default_config().data.histories
    settings.update(source=source, path=str(tmp_path / "histories.csv"))
    found = load_histories(settings, np.array([1, 2, 3]), where="config.data.histories", cache_dir="", core=5)
    assert found.user_ids.tolist() == ["ann", "bob"] and found.items.tolist() == [2, 0, 1]


@pytest.mark.parametrize("source", ["interactions", "sequences"])
def test_gzipped_json_histories_are_read_from_any_source(tmp_path: Path, source: str):
    path = tmp_path / "inter.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"ann": [3, 1], "bob": [2]}).encode()))
    settings = default_config().data.histories
    settings.update(source=source, path=str(path))
    found = load_histories(settings, np.array([1, 2, 3]), where="config.data.histories", cache_dir="", core=5)
    assert found.user_ids.tolist() == ["ann", "bob"] and found.items.tolist() == [2, 0, 1]
