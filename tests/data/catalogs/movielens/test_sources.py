from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sid_jax.data.catalogs.movielens import sources
from sid_jax.data.catalogs.movielens.formats import read_grouplens
from sid_jax.data.catalogs.movielens.tables import MovieLens
from sid_jax.data.catalogs.store import Download
from sid_jax.errors import UserError
from tests.data.catalogs.conftest import CLOSED
from tests.data.conftest import assert_same_catalog, grouplens_files, write_folder


@pytest.fixture
def small(tmp_path: Path) -> MovieLens:
    return read_grouplens(write_folder(tmp_path / "small", grouplens_files()))


@pytest.fixture
def small_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    change_edition(monkeypatch, counts=(6, 3, 6))


def change_edition(monkeypatch: pytest.MonkeyPatch, size: str = "100k", **changes: object) -> None:
    monkeypatch.setitem(sources.EDITIONS, size, sources.EDITIONS[size]._replace(**changes))


@pytest.fixture
def no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{CLOSED}/simple")


def use_fetched(monkeypatch: pytest.MonkeyPatch, catalog: MovieLens) -> None:
    monkeypatch.setattr(sources, "_fetch", lambda scratch, size: catalog)


def test_a_cache_is_prepared_once_and_says_so_once(
    tmp_path: Path, monkeypatch, capfd, small: MovieLens, small_is_complete: None
):
    use_fetched(monkeypatch, small)
    first = sources.load_movielens(cache_dir=str(tmp_path / "cache"))
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        sources.NOTICE,
        f"MovieLens-100K: prepared in {tmp_path / 'cache' / 'movielens-100k-1'}",
    ]
    monkeypatch.setattr(sources, "_fetch", lambda scratch, size: pytest.fail("the data was fetched again"))
    second = sources.load_movielens(cache_dir=str(tmp_path / "cache"))
    assert capfd.readouterr() == ("", "")
    for catalog in (first, second):
        assert_same_catalog(catalog, small)


def test_a_named_path_that_does_not_work_is_never_replaced_by_another_source(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sources, "_fetch", lambda scratch, size: pytest.fail("data was fetched"))
    with pytest.raises(UserError, match="nowhere: no such file"):
        sources.load_movielens(str(tmp_path / "nowhere"), cache_dir=str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_a_named_path_with_too_little_in_it_is_refused(tmp_path: Path):
    folder = write_folder(tmp_path / "data", grouplens_files())
    with pytest.raises(UserError, match="data: has 6 movies, 3 users, 6 ratings, but MovieLens-100K has 1682 movies"):
        sources.load_movielens(str(folder))


def test_a_wheel_of_other_bytes_is_refused(tmp_path: Path, monkeypatch):
    def fake_pip(command: list[str], seconds: int) -> str:
        (tmp_path / "recbole-1.2.1-py3-none-any.whl").write_bytes(b"something else")
        return ""

    monkeypatch.setattr(sources, "run_program", fake_pip)
    with pytest.raises(UserError, match="whl has SHA-256"):
        sources.fetch_from_registry(tmp_path, sources.RECBOLE)


def test_after_the_registry_grouplens_is_asked(
    tmp_path: Path, monkeypatch, served: Download, small: MovieLens, small_is_complete: None, no_registry: None
):
    change_edition(monkeypatch, download=served)
    assert_same_catalog(sources.load_movielens(cache_dir=str(tmp_path / "cache")), small)


def test_without_a_network_one_line_says_what_was_tried_and_what_to_do(tmp_path: Path, monkeypatch, no_registry: None):
    change_edition(monkeypatch, download=Download(f"{CLOSED}/ml-100k.zip"))
    with pytest.raises(UserError) as refusal:
        sources.load_movielens(cache_dir=str(tmp_path / "cache"))
    message = str(refusal.value)
    assert "recbole==1.2.1" in message
    assert f"{CLOSED}/ml-100k.zip: no answer" in message
    assert "--config.data.path=FOLDER_OR_ZIP" in message
    assert "\n" not in message
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_pip_the_reason_is_said(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sources.sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(UserError, match="no-python cannot be run"):
        sources.fetch_from_registry(tmp_path, sources.RECBOLE)


def test_a_killed_preparation_leaves_no_cache_that_is_trusted(
    tmp_path: Path, monkeypatch, small: MovieLens, small_is_complete: None
):
    program = f"""
import os, signal
from pathlib import Path
from sid_jax.data.catalogs import store
from sid_jax.data.catalogs.movielens import sources
from sid_jax.data.catalogs.movielens.formats import read_grouplens
small = read_grouplens(Path({str(tmp_path / "small")!r}))
sources._fetch = lambda scratch, size: small
store._rename_unless_there = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
sources.load_movielens(cache_dir={str(tmp_path / "cache")!r})
"""
    killed = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "cache" / "movielens-100k-1").exists()
    use_fetched(monkeypatch, small)
    assert_same_catalog(sources.load_movielens(cache_dir=str(tmp_path / "cache")), small)


def test_two_that_prepare_at_once_both_succeed(tmp_path: Path, monkeypatch, small: MovieLens, small_is_complete: None):
    cache = str(tmp_path / "cache")

    def overtaken(scratch: Path, size: str) -> MovieLens:
        use_fetched(monkeypatch, small)
        sources.load_movielens(cache_dir=cache)
        return small

    monkeypatch.setattr(sources, "_fetch", overtaken)
    assert_same_catalog(sources.load_movielens(cache_dir=cache), small)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["movielens-100k-1"]


def test_a_damaged_cache_is_named(tmp_path: Path, monkeypatch, small: MovieLens, small_is_complete: None):
    use_fetched(monkeypatch, small)
    sources.load_movielens(cache_dir=str(tmp_path / "cache"))
    for path in (tmp_path / "cache").rglob("*array_record*"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="movielens-100k-1: the prepared data is damaged .*delete this folder"):
        sources.load_movielens(cache_dir=str(tmp_path / "cache"))


def test_a_cache_folder_that_cannot_be_made_is_refused_before_anything_is_fetched(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sources, "_fetch", lambda scratch, size: pytest.fail("data was fetched"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/below: cannot write the prepared data .*--config.data.cache_dir"):
        sources.load_movielens(cache_dir=str(tmp_path / "file" / "below"))


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch, small: MovieLens, small_is_complete: None
):
    from sid_jax.data.catalogs.movielens import tfds_cache

    def full(catalog: MovieLens, folder: Path) -> None:
        folder.mkdir()
        (folder / "half").write_text("")
        raise RuntimeError("write() failed:\nNo space left on device")

    use_fetched(monkeypatch, small)
    monkeypatch.setattr(tfds_cache, "write_movielens", full)
    with pytest.raises(UserError, match="cannot write the prepared data .write.. failed: No space left on device"):
        sources.load_movielens(cache_dir=str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_real_data_through_the_package_registry(real_movielens: MovieLens):
    assert len(real_movielens.items["item_id"]) == 1682
    assert len(real_movielens.users["user_id"]) == 943
    assert len(real_movielens.ratings["rating"]) == 100_000
    items = real_movielens.items
    assert items["item_id"].tolist() == list(range(1, 1683))
    assert [items[name][266] for name in ("title", "year", "genres")] == ["unknown", "", "unknown"]
    assert items["title"][1411] == "Land Before Time III: The Time of the Great Giving"
    assert items["year"][1411] == "1995"
    assert (items["year"] == "").sum() == 1
