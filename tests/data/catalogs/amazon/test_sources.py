from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sid_jax.data.catalogs.amazon import sources
from sid_jax.data.catalogs.amazon.sources import load_amazon
from sid_jax.data.catalogs.names import AMAZON
from sid_jax.data.load import load_vectors
from sid_jax.errors import UserError
from sid_jax.presets import preset
from tests.data.catalogs.amazon.files import NAMES, write_edition, write_prepared
from tests.data.catalogs.conftest import CLOSED, serving_folder

EDITIONS = ("2014", "2018", "2023")


def histories_of(products) -> dict[str, list[str]]:
    histories = products.histories
    return {
        user: histories.item_ids[histories.of(row)].tolist() for row, user in enumerate(histories.user_ids.tolist())
    }


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_edition_gives_the_same_histories(tmp_path: Path, edition: str):
    folder = write_edition(tmp_path / "raw", edition)
    products = load_amazon(f"amazon-{edition}-beauty", str(folder), str(tmp_path / "cache"), core=3)
    # User d and item B04 have too few interactions. Users are in the order of their first review, and items in the
    # order in which the histories first name them.
    assert histories_of(products) == {
        "b": ["B03", "B01", "B02"],
        "a": ["B01", "B02", "B03"],
        "c": ["B03", "B01", "B02"],
    }
    assert products.item_ids.tolist() == ["B03", "B01", "B02"]
    assert products.items["item_id"].to_pylist() == ["B03", "B01", "B02"]
    assert products.items["title"].to_pylist() == ['The "Best" Cream', "Nail Lacquer & Care", "L'Eau Fine"]
    assert products.items["brand"].to_pylist() == ["", "OPI", ""]
    categories = {"2014": ["Makeup", "Nails", "Hands"]}.get(edition, ["Makeup", "Nails"])
    assert products.items["categories"].to_pylist() == [categories] * 3
    price = {"2014": [3.5] * 3, "2018": [None, 1003.5, None], "2023": [None] * 3}[edition]
    assert products.items["price"].to_pylist() == price
    description = {"2014": "Not 'asin': 'B01'", "2018": "First. Second <3", "2023": ""}[edition]
    assert products.items["description"].to_pylist()[1] == description


def test_without_a_core_everybody_stays_and_what_is_not_described_is_empty(tmp_path: Path):
    folder = write_edition(tmp_path / "raw", "2014")
    products = load_amazon("amazon-2014-beauty", str(folder), str(tmp_path / "cache"), core=0)
    assert histories_of(products)["d"] == ["B04"]
    assert products.items.to_pylist()[-1] == {
        "item_id": "B04",
        "title": "",
        "brand": "",
        "categories": [],
        "price": None,
        "description": "",
    }


def test_a_folder_is_read_once_until_a_file_changes(tmp_path: Path, monkeypatch, capfd):
    folder, cache = write_edition(tmp_path / "raw", "2023"), tmp_path / "cache"

    def load():
        return load_amazon("amazon-2023-beauty", str(folder), str(cache), core=3)

    first = load()
    assert "cite Y. Hou" in capfd.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(sources, "_write", lambda *args: pytest.fail("the files were read again"))
        assert load().items.equals(first.items)
    assert capfd.readouterr().err == ""
    path = folder / NAMES["2023"][1]
    about = path.stat()
    path.write_text(path.read_text().replace("The ", "One "))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))  # With a coarse clock, a changed file can keep its time.
    assert load().items["title"][0].as_py() == 'One "Best" Cream'
    assert len(list(cache.iterdir())) == 2


def test_another_edition_in_the_folder_is_found_too(tmp_path: Path):
    folder = write_edition(tmp_path / "raw", "2018")
    products = load_amazon("amazon-2014-beauty", str(folder), str(tmp_path / "cache"), core=3)
    assert len(products.item_ids) == 3


def test_a_prepared_folder_is_read_as_it_is(tmp_path: Path):
    products = load_amazon("amazon-2014-beauty", str(write_prepared(tmp_path / "p")), str(tmp_path / "cache"))
    assert products.item_ids.tolist() == [1, 2, 3]
    assert products.histories.user_ids.tolist() == ["1", "2"]
    assert products.histories.items.tolist() == [0, 2, 2, 1, 0]
    assert products.items["text"].to_pylist()[1] == "Something else"
    assert products.items["categories"].to_pylist() == [["Makeup"], [], ["Skin", "Face"]]
    assert not (tmp_path / "cache").exists()


def test_the_files_are_fetched_and_kept(tmp_path: Path, monkeypatch, capfd):
    folder = write_edition(tmp_path / "raw", "2014")
    with serving_folder(folder) as address:
        addresses = (f"{address}/reviews_{{}}_5.json.gz", f"{address}/meta_{{}}.json.gz")
        monkeypatch.setitem(sources.ADDRESSES, "2014", addresses)
        first = load_amazon("amazon-2014-beauty", "", str(tmp_path / "cache"), core=3)
    assert f"downloading {address}/meta_Beauty.json.gz" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["amazon-2014-beauty-core3-1"]
    again = load_amazon("amazon-2014-beauty", "", str(tmp_path / "cache"), core=3)
    assert again.items.equals(first.items)
    assert again.histories.fingerprint() == first.histories.fingerprint()


def test_without_a_network_one_line_says_what_to_do(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sources.ADDRESSES, "2014", (f"{CLOSED}/reviews_{{}}_5.json.gz", f"{CLOSED}/meta_{{}}.json.gz"))
    with pytest.raises(UserError) as refusal:
        load_amazon("amazon-2014-toys", "", str(tmp_path / "cache"))
    message = str(refusal.value)
    assert f"{CLOSED}/reviews_Toys_and_Games_5.json.gz failed (no answer" in message
    assert "--config.data.path=FOLDER" in message
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_killed_preparation_leaves_nothing_that_is_trusted(tmp_path: Path):
    folder, cache = write_edition(tmp_path / "raw", "2014"), tmp_path / "cache"
    program = f"""
import os, signal
from sid_jax.data.catalogs import store
from sid_jax.data.catalogs.amazon.sources import load_amazon
store.write_json = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
load_amazon("amazon-2014-beauty", {str(folder)!r}, {str(cache)!r}, core=3)
"""
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == -signal.SIGKILL
    assert all(path.name.startswith(".") for path in cache.iterdir())
    assert len(load_amazon("amazon-2014-beauty", str(folder), str(cache), core=3).item_ids) == 3


@pytest.mark.parametrize("name", ["items.parquet", "users.parquet", "manifest.json"])
def test_a_damaged_cache_is_named(tmp_path: Path, name: str):
    folder, cache = write_edition(tmp_path / "raw", "2014"), tmp_path / "cache"
    load_amazon("amazon-2014-beauty", str(folder), str(cache), core=3)
    (path,) = cache.rglob(name)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"core3-1-\w+: the prepared data is damaged .*delete this folder"):
        load_amazon("amazon-2014-beauty", str(folder), str(cache), core=3)


def test_a_folder_without_the_files_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        load_amazon("amazon-2014-beauty", str(tmp_path / "nowhere"), str(tmp_path))
    (tmp_path / "reviews_Beauty_5.json.gz").write_bytes(b"")
    with pytest.raises(UserError, match="the folder must have reviews_Beauty_5.json.gz and meta_Beauty.json.gz"):
        load_amazon("amazon-2014-beauty", str(tmp_path), str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_every_name_has_addresses():
    for source in AMAZON:
        name = sources.AmazonName.of(source)
        for address in sources.ADDRESSES[name.edition]:
            assert name.files in address.format(name.files)


def test_texts_that_say_nothing_are_refused_by_the_names_of_the_default_columns(tmp_path: Path):
    folder = write_prepared(tmp_path / "p")
    lines = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    (folder / "items.jsonl").write_text("\n".join(json.dumps({**line, "text": ""}) for line in lines))
    config = preset("amazon:beauty,2014").data
    config.path, config.cache_dir = str(folder), str(tmp_path / "cache")
    with pytest.raises(UserError, match="no item has text in text; set other columns"):
        load_vectors(config)
