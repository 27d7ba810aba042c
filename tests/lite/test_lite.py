"""An export that is read with NumPy alone gives the same codes, look-ups and free IDs as the tokenizer in JAX."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax import SemanticIdTokenizer, lite, load
from sid_jax.export.encoder import Encoder
from sid_jax.export.weights import write_model
from sid_jax.lite.free_ids import _following
from sid_jax.lite.safetensors import read_safetensors
from tests.export.models import KINDS, made_model, made_vectors


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).normal(size=(400, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(vectors, tmp_path_factory):
    """A tokenizer of 400 items with 512 possible IDs, and the folder of its export.

    The item ids contain quotes, commas and line breaks, which a CSV file has to quote.
    """
    ids = [f'item "{row}",\nü' for row in range(len(vectors))]
    settings = {
        "num_levels": 3,
        "codebook_size": 8,
        "num_epochs": 2.0,
        "latent_dimension": 4,
        "hidden_dimensions": (16,),
    }
    tokenizer = SemanticIdTokenizer(**settings).fit(vectors, item_ids=ids, verbose=False)
    return tokenizer, tokenizer.save(tmp_path_factory.mktemp("lite") / "export")


@pytest.mark.parametrize("kind", KINDS)
def test_codes_and_vectors_are_those_of_jax(kind, vectors, tmp_path):
    model, vectors = made_model(kind), made_vectors(kind, vectors)
    sizes = model.quantizer.codebook_sizes
    write_model(tmp_path, model)
    read, encoder = lite.Model.read(tmp_path), Encoder(model)
    codes = encoder.encode(vectors)
    assert read.sizes == sizes and len(np.unique(codes, axis=0)) > 10
    np.testing.assert_array_equal(read.encode(vectors), codes)
    np.testing.assert_array_equal(read.encode(vectors[5]), codes[5])
    np.testing.assert_allclose(read.decode(codes), encoder.decode(codes), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(read.decode(codes[5]), encoder.decode(codes[5]), rtol=1e-4, atol=1e-5)


def test_an_item_leads_to_its_id_and_a_prefix_to_its_items(fitted):
    tokenizer, folder = fitted
    read, table = lite.load(folder), tokenizer.table
    assert len(read.table) == 400 and read.table.item_ids == table.item_ids.tolist()
    np.testing.assert_array_equal(read.table.semantic_ids, table.semantic_ids)
    item = table.item_ids[7]
    own = read.table.semantic_id(item)
    assert own == table.semantic_id(item) and read.table.items(own) == [item] and read.table.item(list(own)) == item
    with pytest.raises(ValueError, match="has 2 codes, but a Semantic ID of this table has 3"):
        read.table.item(own[:2])
    text = "-".join(map(str, own))
    assert read.table.item([own, text]) == read.table.item(np.array([own, own])) == [item, item]
    assert read.table.item([text]) == [item]
    assert read.table.item(text) == item and read.table.items(text[: text.rindex("-")]) == read.table.items(own[:2])
    assert read.table.items("") == read.table.items(())
    with pytest.raises(ValueError, match="is not a Semantic ID or a prefix of one; give whole numbers"):
        read.table.items([own])
    for wrong in ("1-x", "1-", [1.5], ["1-x"], [own, "1-x"], 3, None):
        for look_up in (read.table.item, read.table.items):
            with pytest.raises(ValueError, match="is not a Semantic ID or a prefix of one; give whole numbers"):
                look_up(wrong)
    with pytest.raises(ValueError) as caught:
        read.table.items([own] * 1000)
    assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match="has 4 codes, but a Semantic ID of this table has 3"):
        read.table.items((*own, 0))
    assert item in read.table and "nobody" not in read.table and 3 not in read.table and own not in read.table
    with pytest.raises(KeyError, match="no item has the Semantic ID"):
        read.table.item((-1, *own[1:]))
    with pytest.raises(ValueError, match="2 items share the Semantic ID"):
        lite.Table(["a", "b"], np.zeros((2, 3), np.int32)).item((0, 0, 0))
    under = {
        each for each, codes in zip(table.item_ids, table.semantic_ids.tolist(), strict=True) if codes[0] == own[0]
    }
    assert set(read.table.items(own[:1])) == under and len(read.table.items(())) == 400
    with pytest.raises(KeyError, match="no item has the id .*nobody.*; ids of this table look like "):
        read.table.semantic_id("nobody")
    several = table.item_ids[[5, 2, 5]]
    for items in (several, several.tolist()):
        np.testing.assert_array_equal(read.table.semantic_id(items), table.semantic_id(several))
    assert read.table.semantic_id([]).shape == (0, 3)
    with pytest.raises(KeyError, match="no item has the id .*nobody"):
        read.table.semantic_id([item, "nobody"])
    assert repr(read) == "LiteTokenizer(400 items, Semantic IDs of 3 codes)"


def test_a_free_id_is_for_one_vector(fitted):
    read = lite.load(fitted[1])
    with pytest.raises(ValueError, match=r"the vector has shape \[2, 12\]; give one vector \[12\]"):
        read.free_id(np.zeros((2, 12)))
    assert repr(read.table) == "Table(400 items, Semantic IDs of 3 codes)"


def test_a_free_id_is_what_an_append_gives(fitted):
    folder = fitted[1]
    read = lite.load(folder)
    new = np.random.default_rng(2).normal(size=(12, 12)).astype(np.float32)
    moved = 0
    for vector in new:
        found = read.free_id(vector)
        appended = load(folder).append(["new"], vector[None])
        assert found == appended.table.semantic_id("new")
        moved += found != tuple(read.encode(vector).tolist())
    assert moved > 3


def test_files_that_need_pyarrow_are_named_if_it_is_missing(fitted, tmp_path, monkeypatch):
    tokenizer = load(fitted[1])
    folder = tokenizer.append(remove=[tokenizer.table.item_ids[0]]).save(tmp_path / "v2")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match="reading retired.parquet needs pyarrow.*pip install pyarrow"):
        lite.load(folder)


def test_versions_are_read_whether_items_left_or_not(fitted, tmp_path):
    folder, new = fitted[1], np.random.default_rng(3).normal(size=(2, 12)).astype(np.float32)
    one = load(folder).append(["new"], new[:1])
    gone = one.table.item_ids[5]
    left = one.table.semantic_id(gone)
    assert lite.load(one.save(tmp_path / "v2")).table.semantic_id("new") == one.table.semantic_id("new")
    again = one.append(["newer"], new[1:], remove=[gone])
    read = lite.load(again.save(tmp_path / "v3"))
    assert read.table.item_ids == again.table.item_ids.tolist() and read._taken[left] == 1


def test_places_that_follow_come_once_each_and_round_again():
    every = list(itertools.product([2], range(3), range(4), range(2)))
    own = every.index((2, 1, 3, 0))
    assert list(_following((0, 1, 3, 0), 2, (5, 3, 4, 2))) == every[own:] + every[:own]
    # Tuples are generated lazily, only as many as requested.
    assert next(_following((0, *[65_535] * 7), 1, (65_536,) * 8)) == (1, *[65_535] * 7)


def test_it_needs_neither_jax_nor_sid_jax(fitted, tmp_path):
    # `pip install ./sid_jax/lite` installs the package under this name.
    (tmp_path / "sid_jax_lite").symlink_to(Path(lite.__file__).parent)
    blocked = ("sid_jax", "jax", "flax", "pyarrow", "safetensors", "scipy", "absl", "ml_collections")
    program = (
        f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
        f"import sid_jax_lite as lite\nprint(lite.load({str(fitted[1])!r}).encode([[0.5] * 12]).shape)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("(1, 3)\n", "")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (np.zeros((2, 11)), r"\[2, 11\]; this model encodes \[n, 12\]"),
        (np.full((1, 12), np.nan), "NaN or infinite"),
        (np.full((1, 12), "1"), "give real numbers"),
    ],
)
def test_vectors_that_make_no_sense_are_refused(fitted, wrong, complaint):
    with pytest.raises(ValueError, match=complaint):
        lite.load(fitted[1]).encode(wrong)


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no manifest.json"):
        lite.load(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": [], "schema": {}}', '{"files": {}, "schema": {}}'])
def test_a_damaged_manifest_is_refused(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="manifest.json has a missing or invalid entry .*export again"):
        lite.load(tmp_path)


@given(st.data())
def test_a_damaged_file_is_refused(fitted, tmp_path_factory, data):
    content = (fitted[1] / "codebooks.safetensors").read_bytes()
    path = tmp_path_factory.mktemp("damaged") / "codebooks.safetensors"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match="export again"):
        read_safetensors(path)
