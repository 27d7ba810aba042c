from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sid_jax.config import default_config
from sid_jax.data.catalogs.movielens import sources
from sid_jax.data.catalogs.movielens.formats import read_1m, read_10m, read_csv, read_grouplens, read_recbole
from sid_jax.data.catalogs.store import Download
from sid_jax.data.load import load_vectors
from sid_jax.errors import UserError
from tests.data.catalogs.conftest import serving_folder
from tests.data.conftest import assert_same_catalog, grouplens_files, recbole_files, write_folder, write_zip


def test_grouplens_layout_is_read(tmp_path: Path):
    catalog = read_grouplens(write_folder(tmp_path / "top", grouplens_files()))
    assert catalog.items["item_id"].tolist() == [1, 2, 3, 4, 5, 6]
    assert catalog.items["title"].tolist() == [
        "Toy Story",
        "Misérables, Les",
        "unknown",
        "Land Before Time III: The Time of the Great Giving",
        "Two Friends",
        "Land Before Time (III)",
    ]
    assert catalog.items["year"].tolist() == ["1995", "1995", "", "1995", "1986", "1988"]
    assert catalog.items["genres"].tolist()[:3] == ["Animation|Children's|Comedy", "Drama|Musical", "unknown"]
    assert catalog.users["age"].tolist() == [24, 53, 7]
    assert catalog.users["zip_code"].tolist() == ["85711", "T8H1N", "01002"]
    assert catalog.ratings["user_id"].tolist() == [1, 1, 1, 2, 2, 3]
    assert catalog.ratings["item_id"].tolist() == [2, 4, 1, 3, 1, 6]


def test_every_layout_gives_the_same_catalog(tmp_path: Path):
    files = grouplens_files()
    expected = read_grouplens(write_folder(tmp_path / "top", files))
    write_folder(tmp_path / "nested" / "ml-100k", files)
    without_genres = {name: content for name, content in files.items() if name != "u.genre"}
    windows = {name: content.replace(b"\n", b"\r\n") for name, content in files.items()}
    saved_again = {name: content.decode("latin-1").encode("utf-8-sig") for name, content in files.items()}
    for other in (
        read_grouplens(write_folder(tmp_path / "utf8", saved_again)),
        read_grouplens(tmp_path / "nested"),
        read_grouplens(write_zip(tmp_path / "nested.zip", files)),
        read_grouplens(write_zip(tmp_path / "top.zip", files, inside="")),
        read_grouplens(write_folder(tmp_path / "plain", without_genres)),
        read_grouplens(write_folder(tmp_path / "windows", windows)),
        read_recbole(write_folder(tmp_path / "recbole", recbole_files())),
        read_recbole(write_zip(tmp_path / "any.whl", recbole_files(), "recbole/dataset_example/ml-100k/")),
    ):
        assert_same_catalog(other, expected)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("u.item", b"|http://x|", b"|", "u.item, line 1: expected 24 fields separated by '|', found 23"),
        ("u.item", b"2|Mis", b"two|Mis", "u.item, item id, line 2: expected a whole number, found 'two'"),
        ("u.data", b"1\t4\t5\t300", b"1\t4\t5", "u.data, line 2: expected 4 fields"),
        ("u.data", b"\t300", b"\t3e2", "u.data, timestamp, line 2: expected a whole number, found '3e2'"),
        ("u.data", b"2\t1\t3\t500", b"2\t77\t3\t500", "ratings refer to item_id 77"),
        ("u.user", b"2|53|F|other|T8H1N", b"2|53|F", "u.user, line 2: expected 5 fields"),
        ("u.user", b"3|7|M", b"2|7|M", "user_id 2 occurs more than once"),
        ("u.genre", b"Action|1\n", b"", "u.item, line 1: expected 23 fields"),
    ],
)
def test_a_damaged_field_is_named(tmp_path: Path, name: str, old: bytes, new: bytes, message: str):
    files = grouplens_files()
    files[name] = files[name].replace(old, new)
    folder = write_folder(tmp_path / "data", files)
    with pytest.raises(UserError) as refusal:
        read_grouplens(folder)
    assert message in str(refusal.value)
    assert str(folder) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["u.item", "u.data", "u.user"])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    files = grouplens_files()
    del files[name]
    with pytest.raises(UserError, match=f"{name} is neither at the top level nor in ml-100k/"):
        read_grouplens(write_zip(tmp_path / "data.zip", files))


@pytest.mark.parametrize("name", ["u.item", "u.data", "u.user"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str):
    with pytest.raises(UserError, match=f"{name}, line 1: expected"):
        read_grouplens(write_folder(tmp_path / "data", grouplens_files() | {name: b""}))


def test_a_path_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="nowhere: no such file or folder"):
        read_grouplens(tmp_path / "nowhere")


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path):
    (tmp_path / "data.zip").write_bytes(b"not a zip")
    with pytest.raises(UserError, match="data.zip: cannot be read .*zip"):
        read_grouplens(tmp_path / "data.zip")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_or_changed_zip_gives_the_catalog_or_one_line(tmp_path: Path, data: st.DataObject):
    content = bytearray(write_zip(tmp_path / "whole.zip", grouplens_files()).read_bytes())
    content = content[: data.draw(st.integers(0, len(content)))]
    for place in data.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=3)) if content else []:
        content[place] ^= data.draw(st.integers(1, 255))
    (tmp_path / "damaged.zip").write_bytes(content)
    try:
        read_grouplens(tmp_path / "damaged.zip")
    except UserError as refusal:
        assert "damaged.zip" in str(refusal)
        assert "\n" not in str(refusal)


ONE_M = {
    "movies.dat": "1::Toy Story (1995)::Animation|Children's|Comedy\n"
    "73::Misérables, Les (1995)::Drama|Musical\n"
    "9::Title::With Colons: a Film (1990)::Drama\n".encode("latin-1"),
    "users.dat": b"1::F::1::10::48067\n2::M::56::16::70072-1234\n",
    "ratings.dat": b"2::1::5::978300760\n1::73::3::978302109\n1::1::4::978302109\n1::9::5::978300000\n",
}
TEN_M = {
    "movies.dat": "1::Toy Story (1995)::Adventure|Children\n5::Misérables, Les (1995)::(no genres listed)\n".encode(),
    "ratings.dat": b"1::1::5::838985046\n1::5::0.5::838983525\n9::5::3.5::838983525\n",
}
CSV = {
    "movies.csv": (
        "movieId,title,genres\r\n1,Toy Story (1995),Adventure|Children\r\n"
        '11,"American President, The (1995)",Comedy\r\n'
        '7,"Say ""Misérables"" (1990)",(no genres listed)\r\n'
    ).encode(),
    "ratings.csv": b"userId,movieId,rating,timestamp\r\n3,11,3.5,20\r\n3,1,4.0,20\r\n3,7,5.0,10\r\n1,1,0.5,7\r\n",
    "links.csv": b"movieId,imdbId,tmdbId\r\n",
}


def test_1m(tmp_path: Path):
    catalog = read_1m(write_zip(tmp_path / "ml-1m.zip", ONE_M, "ml-1m/"))
    assert catalog.items["item_id"].tolist() == [1, 9, 73]
    assert catalog.items["title"].tolist() == ["Toy Story", "Title::With Colons: a Film", "Misérables, Les"]
    assert catalog.items["genres"].tolist() == ["Animation|Children's|Comedy", "Drama", "Drama|Musical"]
    assert catalog.users["age"].tolist() == ["under 18", "56 or more"]
    assert catalog.users["occupation"].tolist() == ["K-12 student", "self-employed"]
    # Ratings are sorted by user, time and line number.
    assert catalog.ratings["item_id"].tolist() == [9, 73, 1, 1]
    assert catalog.ratings["rating"].dtype == np.int64
    assert_same_catalog(read_1m(write_folder(tmp_path / "top", ONE_M)), catalog)


def test_10m_has_half_stars_and_knows_users_by_their_ratings(tmp_path: Path):
    catalog = read_10m(write_zip(tmp_path / "ml-10m.zip", TEN_M, "ml-10M100K/"))
    assert catalog.items["title"].tolist() == ["Toy Story", "Misérables, Les"]
    assert catalog.items["genres"].tolist() == ["Adventure|Children", ""]
    assert catalog.users["user_id"].tolist() == [1, 9]
    assert catalog.ratings["rating"].tolist() == [0.5, 5.0, 3.5]


def test_csv(tmp_path: Path):
    catalog = read_csv(write_zip(tmp_path / "ml-25m.zip", CSV, "ml-25m/"), "ml-25m/")
    assert catalog.items["title"].tolist() == ["Toy Story", 'Say "Misérables"', "American President, The"]
    assert catalog.items["genres"].tolist() == ["Adventure|Children", "", "Comedy"]
    assert catalog.ratings["item_id"].tolist() == [1, 7, 11, 1]
    assert catalog.ratings["rating"].tolist() == [0.5, 5.0, 3.5, 4.0]


@pytest.mark.parametrize(
    ("read", "files", "name", "content", "message"),
    [
        (read_1m, ONE_M, "movies.dat", b"1:Toy Story\n", "movies.dat, line 1: expected a number, a title and genres"),
        (read_1m, ONE_M, "users.dat", b"1::F::2::10::1\n", "users.dat, line 1: unknown age group '2'"),
        (read_1m, ONE_M, "ratings.dat", b"1::1::4.5::9\n", "ratings.dat is damaged .*4.5"),
        (read_1m, ONE_M, "ratings.dat", b"1::1::4\n", "ratings.dat is damaged"),
        (read_10m, TEN_M, "ratings.dat", b"1::77::4::9\n", "ratings refer to item_id 77"),
        (read_10m, TEN_M, "ratings.dat", b"1::::4::9\n", "ratings.dat: item_id is missing in 1 rows"),
        (read_10m, TEN_M, "movies.dat", b"1::Mis\xe9rables::Drama\n", "movies.dat: not UTF-8"),
        (lambda p: read_csv(p, ""), CSV, "movies.csv", b"id,name\n1,x\n", "expected movieId,title,genres in line 1"),
        (lambda p: read_csv(p, ""), CSV, "movies.csv", b"movieId,title,genres\n1,A, B\n2,C\n", "line 3: expected 3"),
        (lambda p: read_csv(p, ""), CSV, "ratings.csv", b"userId,movieId,rating\n1,1,1\n", "ratings.csv is damaged"),
        (lambda p: read_csv(p, ""), CSV, "ratings.csv", b"", "ratings.csv is damaged"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, read, files: dict, name: str, content: bytes, message: str):
    with pytest.raises(UserError, match=message) as refusal:
        read(write_folder(tmp_path / "data", {**files, name: content}))
    assert "\n" not in str(refusal.value)


def test_a_larger_size_is_fetched_once_and_kept_as_it_is(tmp_path: Path, monkeypatch, capfd):
    path = write_zip(tmp_path / "ml-10m.zip", TEN_M, "ml-10M100K/")
    with serving_folder(tmp_path) as address:
        download = Download(f"{address}/ml-10m.zip", md5=hashlib.md5(path.read_bytes()).hexdigest())
        edition = sources.EDITIONS["10m"]._replace(counts=(2, 2, 3), download=download)
        monkeypatch.setitem(sources.EDITIONS, "10m", edition)
        first = sources.load_movielens(cache_dir=str(tmp_path / "cache"), size="10m")
    assert "Harper" in capfd.readouterr().err
    assert [each.name for each in (tmp_path / "cache").iterdir()] == ["movielens-10m-1"]
    second = sources.load_movielens(cache_dir=str(tmp_path / "cache"), size="10m")
    for catalog in (first, second):
        assert_same_catalog(catalog, read_10m(path))
    (tmp_path / "cache" / "movielens-10m-1" / "ratings.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="movielens-10m-1: the prepared data is damaged .*delete this folder"):
        sources.load_movielens(cache_dir=str(tmp_path / "cache"), size="10m")


def test_films_of_a_larger_size_and_their_histories(tmp_path: Path):
    config = default_config()
    config.data.source = config.data.histories.source = "movielens-latest-small"
    config.data.path = str(write_folder(tmp_path / "ml-latest-small", CSV))
    config.data.cache_dir = str(tmp_path / "cache")
    config.data.collaborative_dimension = 1
    config.data.collaborative_holdout = 0
    config.data.columns = "title"
    data = load_vectors(config.data)
    assert data.ids.tolist() == [1, 7, 11]
    assert data.vectors.shape == (3, 256 + 1)
    assert list(data.columns) == ["title"]
    assert "MovieLens-latest-small" in data.source
    config.data.histories.source = "none"
    config.data.view = "user"
    with pytest.raises(UserError, match="no column 'title'; the columns of its users are user_id"):
        load_vectors(config.data)
    config.data.columns = ""
    with pytest.raises(UserError, match="has no user attributes; set config.data.vectors=collaborative"):
        load_vectors(config.data)
    config.data.vectors = "collaborative"
    assert load_vectors(config.data).vectors.shape == (2, 1)
