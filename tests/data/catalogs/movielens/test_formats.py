from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sid_jax.data.catalogs.movielens.formats import read_grouplens, read_recbole
from sid_jax.errors import UserError
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
    for other in (
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
        ("u.data", b"2\t1\t3\t500", b"2\t77\t3\t500", "ratings name 77"),
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
    with pytest.raises(UserError, match=f"{name} is neither at the top nor in ml-100k/"):
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
