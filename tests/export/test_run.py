"""Exports of one run with each scheme that makes IDs unique, and without one."""

import io
import json

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from flax import nnx
from rich.console import Console

from sid_jax.config import default_config
from sid_jax.errors import UserError
from sid_jax.export.artifact import load_export
from sid_jax.export.manifest import content_of
from sid_jax.export.retry import REQUEST
from sid_jax.export.run import export, make_export
from sid_jax.ids.table import IdTable
from sid_jax.messages import Messages
from sid_jax.presets import set_mlp
from sid_jax.training.quantizer import train
from sid_jax.training.restore import restore_run


def small_run(folder, vectors):
    np.save(folder / "items.npy", vectors)
    config = default_config()
    set_mlp(config)
    config.data.path = str(folder / "items.npy")
    config.model.update({"codebook_size": 8, "latent_dimension": 6, "hidden_dimensions": (24,)})
    config.train.update({"batch_size": 64, "num_epochs": 10, "warmup_epochs": 1.0, "eval_every_epochs": 10.0})
    return config


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Maps each scheme to codes, Semantic IDs and manifest, for 300 items of which ten have equal vectors.

    The manifest's metrics also have `r2_of_ids`, the R^2 of all reconstructions from IDs.
    """
    folder = tmp_path_factory.mktemp("exports")
    vectors = np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)
    vectors[:10] = vectors[0]
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    config = small_run(folder, vectors)
    console = Console(file=io.StringIO())
    train(config, folder / "run", messages=Messages.to_console(console))
    found = {}
    for scheme in ("relocate", "suffix", "none", None):
        out = folder / str(scheme)
        export(folder / "run", out, unique=scheme, messages=Messages.silent())
        loaded = load_export(out)
        assert len(loaded.table) == 300
        table = pq.read_table(out / "ids.parquet")
        codes, semantic_ids = (np.array(table[name].to_pylist()) for name in ("codes", "semantic_id"))
        found[scheme] = codes, semantic_ids, json.loads((out / "manifest.json").read_text())
        error = np.square(units - loaded.decode(semantic_ids[:, :3])).sum()
        found[scheme][2]["metrics"]["r2_of_ids"] = 1 - error / np.square(units - units.mean(axis=0)).sum()
    return found


def test_the_default_relocates_and_says_what_it_cost(exports):
    codes, semantic_ids, manifest = exports["relocate"]
    np.testing.assert_array_equal(exports[None][1], semantic_ids)
    made, metrics = manifest["semantic_ids"], manifest["metrics"]
    assert len(np.unique(semantic_ids, axis=0)) == 300 and semantic_ids.shape == (300, 3)
    assert (made["scheme"], made["length"], made["sizes"]) == ("relocate", 3, [8, 8, 8])
    assert (
        made["relocated"] == pytest.approx((codes != semantic_ids).any(axis=1).mean()) == 1 - metrics["distinct_rate"]
    )
    assert made["relocated_by_level"] == pytest.approx((codes != semantic_ids).mean(axis=0))
    assert metrics["gini"] > 0 and len(metrics["entropy"]) == 3
    assert metrics["r2"] - 0.05 < metrics["r2_unique"] != metrics["r2"]
    assert metrics["r2_unique"] == pytest.approx(metrics["r2_of_ids"], abs=1e-6)


def test_a_suffix_and_nothing_at_all(exports):
    codes, semantic_ids, manifest = exports["suffix"]
    np.testing.assert_array_equal(semantic_ids[:, :3], codes)
    assert len(np.unique(semantic_ids, axis=0)) == 300
    assert manifest["semantic_ids"]["sizes"] == [8, 8, 8, semantic_ids[:, 3].max() + 1]
    assert manifest["semantic_ids"]["relocated"] == 0
    assert manifest["metrics"]["r2_unique"] == pytest.approx(manifest["metrics"]["r2"], abs=1e-6)
    codes, semantic_ids, manifest = exports["none"]
    np.testing.assert_array_equal(semantic_ids, codes)
    assert manifest["semantic_ids"]["sizes"] == [8, 8, 8]


def test_items_that_share_an_id_are_found_together(exports):
    codes, ids, _ = exports["none"]
    table = IdTable(np.arange(300), ids, shared=True)
    assert set(range(10)) <= set(table.items(ids[0]).tolist())
    with pytest.raises(UserError, match=r"items share the Semantic ID .* call items\(\) to get all"):
        table.item(ids[0])
    with pytest.raises(UserError, match="the same Semantic ID"):
        IdTable(np.arange(300), ids)


def test_codes_are_the_same_under_each_scheme(exports):
    codes = exports["relocate"][0]
    for scheme in ("suffix", "none"):
        np.testing.assert_array_equal(exports[scheme][0], codes)


@pytest.mark.parametrize(("encoder", "method"), [("identity", "ema"), ("mlp", "simvq"), ("residual", "gumbel_softmax")])
def test_an_export_encodes_as_the_run_did_however_its_codebooks_were_held(tmp_path, encoder, method):
    vectors = np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)
    config = small_run(tmp_path, vectors)
    config.model.update({"encoder": encoder, "quantization_method": method})
    config.train.num_epochs = 4
    console = Console(file=io.StringIO())
    train(config, tmp_path / "run", messages=Messages.to_console(console))
    export(tmp_path / "run", tmp_path / "out", messages=Messages.silent())
    loaded, run = load_export(tmp_path / "out"), restore_run(tmp_path / "run")
    assert loaded.model.quantizer.method == method
    made = make_export(run)
    assert {**content_of(made.manifest), REQUEST: loaded.manifest[REQUEST]} == content_of(loaded.manifest)
    assert made.table.to_arrow().equals(loaded.table.to_arrow())
    assert made.measured == {name: value for name, value in loaded.measured.items() if name != "training"}
    for other in (run, made):
        assert nnx.graphdef(loaded.model) == nnx.graphdef(other.model)
        states = (jax.tree.leaves(nnx.state(each.model)) for each in (loaded, other))
        for left, right in zip(*states, strict=True):
            np.testing.assert_array_equal(left, right)
    codes = loaded.table.codes
    np.testing.assert_array_equal(loaded.encode(vectors), codes)
    error = np.square(vectors / np.linalg.norm(vectors, axis=1, keepdims=True) - loaded.model.reconstruct(codes)).sum()
    assert 0 < error == pytest.approx(loaded.manifest["metrics"]["mse"] * vectors.size, rel=1e-4)
