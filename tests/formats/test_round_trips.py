"""The IDs, histories and titles that are written in each tool's format are read back unchanged."""

from __future__ import annotations

import ast
import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_jax.data.history_files import read_histories
from sid_jax.data.tables import read_own_tables
from sid_jax.data.text.template import value_text
from sid_jax.export.id_tables import read_id_table
from sid_jax.formats.content import Content, one_line
from sid_jax.formats.convert import FORMATS
from sid_jax.recommend.data.split import leave_one_out
from tests.formats.catalogs import Catalog, by_item, by_user, catalogs, only

# For each tool, the files with IDs, and the files with whole histories.
IDS = {
    "minionerec": ["*.index.json", "info/*.txt"],
    "lcrec": ["*.index.json"],
    "letter": ["*.index.json"],
    "grid": ["semantic_ids.pt"],
    "nvidia": ["item-sid-mapping.pt", "catalog.jsonl"],
    "openonerec": ["pid2sid.parquet"],
    "recbole": ["*.item"],
    "rectokens": ["catalog.pt", "items.json"],
    "torch-rechub": ["semantic_ids.json"],
    "rpg": ["*.sem_ids"],
    "xllm": ["rec_vocab.bin"],
    "flashrec": ["sid2vid.json"],
    "static": ["static_index.npz"],
    "torcheasyrec": ["v1/item_to_sid", "v1"],
}
HISTORIES = {
    "minionerec": ["*.inter.json", "*.test.inter"],
    "lcrec": ["*.inter.json"],
    "letter": ["*.inter.json"],
    "grid": ["testing", "testing/*.gz"],
    "nvidia": ["testing.parquet"],
    "recbole": ["*.inter"],
    "torch-rechub": ["inter.json"],
    "rpg": ["all_item_seqs.json"],
}
COLUMNS = ("user_id", "item_id", "timestamp")

few = settings(max_examples=30)
_numbers = itertools.count()


def write(catalog: Catalog, tool: str, tmp_path_factory: pytest.TempPathFactory, vocabulary: int = 0) -> Path:
    """Writes a tool's files without `convert`, which would be slower: it waits until the files are on the disk."""
    folder = tmp_path_factory.getbasetemp() / f"D{next(_numbers)}"
    folder.mkdir()
    histories = catalog.histories if FORMATS[tool].histories else None
    FORMATS[tool].write(folder, Content(catalog.table, histories, folder.name, folder, vocabulary))
    return folder


def drawn(tool: str, data: st.DataObject) -> Catalog:
    form = FORMATS[tool]
    return data.draw(catalogs(form.levels, shared=form.shared, words=tool == "recbole"))


@pytest.mark.parametrize("tool", FORMATS)
@few
@given(data=st.data())
def test_ids_and_histories_come_back(tmp_path_factory, tool: str, data: st.DataObject):
    catalog = drawn(tool, data)
    folder = write(catalog, tool, tmp_path_factory, vocabulary=data.draw(st.sampled_from([0, 32_000])))
    for pattern in IDS[tool]:
        assert by_item(read_id_table(only(folder, pattern))) == catalog.codes
    assert by_item(read_id_table(folder)) == catalog.codes
    for pattern in HISTORIES.get(tool, ()):
        path = only(folder, pattern)
        found = by_user(read_histories(path, catalog.table.item_ids, COLUMNS))
        numbered = not set(found) & set(catalog.taken)
        assert list(found.values()) == list(catalog.taken.values()) if numbered else found == catalog.taken


@few
@given(catalog=catalogs())
def test_titles_come_back(tmp_path_factory, catalog: Catalog):
    folder = write(catalog, "lcrec", tmp_path_factory)
    ids, columns = read_own_tables(str(only(folder, "*.item.json")), "id", ["title"])
    assert ids.tolist() == catalog.table.item_ids.tolist()
    assert columns["title"] == list(map(value_text, catalog.titles))


@few
@given(catalog=catalogs(words=True))
def test_titles_of_recbole_come_back(tmp_path_factory, catalog: Catalog):
    path = only(write(catalog, "recbole", tmp_path_factory), "*.item")
    ids, columns = read_own_tables(str(path), "item_id", ["title"])
    assert list(map(str, ids.tolist())) == list(map(str, catalog.table.item_ids.tolist()))
    found = [each if isinstance(each, str) or each is None else " ".join(each) for each in columns["title"].to_pylist()]
    assert [each or "" for each in found] == [one_line(each) for each in catalog.titles]


@few
@given(catalog=catalogs(3))
def test_the_splits_are_those_of_our_own_test_and_no_target_is_trained_on(tmp_path_factory, catalog: Catalog):
    folder = write(catalog, "minionerec", tmp_path_factory)
    split = leave_one_out(catalog.histories) if catalog.histories.lengths.max() > 3 else None
    rows = {name: _csv(folder / name / f"{folder.name}.csv") for name in ("train", "valid", "test")}
    for user, items in enumerate(map(catalog.histories.of, range(len(catalog.histories)))):
        *trained, validation, test = items.tolist()
        of_user = {name: [row for row in each if row["user_id"] == f"A{user}"] for name, each in rows.items()}
        sequences = [[*ast.literal_eval(row["history_item_id"]), int(row["item_id"])] for row in of_user["train"]]
        assert sequences == [trained[: end + 1] for end in range(1, len(trained))]
        (row,) = of_user["valid"]
        assert (ast.literal_eval(row["history_item_id"]), int(row["item_id"])) == (trained, validation)
        (row,) = of_user["test"]
        assert (ast.literal_eval(row["history_item_id"]), int(row["item_id"])) == ([*trained, validation], test)
        if split is not None:
            assert split.train.of(user).tolist() == trained
            assert (split.validation.targets[user], split.test.targets[user]) == (validation, test)
    lengths = [len(each) for each in pq.read_table(_nvidia(catalog, tmp_path_factory))["sequence_data"].to_pylist()]
    assert lengths == (catalog.histories.lengths - 2).tolist()


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _nvidia(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(catalog, "nvidia", tmp_path_factory) / "training.parquet"


@few
@given(catalog=catalogs(3))
def test_lists_in_a_csv_are_what_python_wrote(tmp_path_factory, catalog: Catalog):
    folder = write(catalog, "minionerec", tmp_path_factory)
    tokens = json.loads(only(folder, "*.index.json").read_text(encoding="utf-8"))
    titles = [one_line(each) or f"Item_{number}" for number, each in enumerate(catalog.titles)]
    for row in _csv(folder / "test" / f"{folder.name}.csv"):
        items = ast.literal_eval(row["history_item_id"])
        assert ast.literal_eval(row["history_item_title"]) == [titles[item] for item in items]
        assert ast.literal_eval(row["history_item_sid"]) == ["".join(tokens[str(item)]) for item in items]
        assert row["item_title"] == titles[int(row["item_id"])]
        assert row["item_sid"] == "".join(tokens[row["item_id"]])


@few
@given(catalog=catalogs(shared=True))
def test_every_item_of_a_shared_id_is_in_its_bucket(tmp_path_factory, catalog: Catalog):
    folder = write(catalog, "torcheasyrec", tmp_path_factory) / "v1"
    buckets = pq.read_table(folder / "sid_to_items").to_pylist()
    found = {str(item): row["codebook"] for row in buckets for item in row["itemids"]}
    assert found == catalog.codes
    keys = [tuple(row["codebook"]) for row in buckets]
    assert keys == sorted(set(keys))
    for row in pq.read_table(folder / "item_to_sid").to_pylist():
        bucket = buckets[keys.index(tuple(row["codebook"]))]
        assert bucket["itemids"][row["index"] - 1] == row["item_id"]
        assert bucket["offset_codebook"] == row["offset_codebook"]
    sizes = catalog.table.sizes
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    assert all((np.array(row["codebook"]) + offsets).tolist() == row["offset_codebook"] for row in buckets)
