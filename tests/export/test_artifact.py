"""Exports of an untrained model, in memory and as folders."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
from flax import nnx

from sid_jax.errors import UserError
from sid_jax.export.artifact import Export, load_export, write_export
from sid_jax.export.codebooks import write_codebooks
from sid_jax.export.manifest import content_of
from sid_jax.export.weights import model_info, torch_weights
from sid_jax.ids.table import IdTable
from sid_jax.models.rqvae import RQVAE

NUM_ITEMS = 60


def small_model(method="ste"):
    model = RQVAE(6, (8, 8), latent_dimension=3, hidden_dimensions=(7,), quantization_method=method, rngs=nnx.Rngs(0))
    model.quantizer.initialized[...] = jnp.array(True)
    return model


def make(method="gumbel_softmax", retired=True, **kwargs):
    vectors = np.random.default_rng(0).normal(size=(NUM_ITEMS, 6)).astype(np.float32)
    model = small_model(method)
    codes = np.asarray(model.assign(vectors))
    semantic_ids = np.stack(np.unravel_index(np.arange(NUM_ITEMS), (8, 8)), axis=1).astype(np.int32)
    columns = {"title": np.array([f"item {row}" for row in range(NUM_ITEMS)], object), "year": np.arange(NUM_ITEMS)}
    ids = np.array([f"sku-{row}" for row in range(NUM_ITEMS)], object)
    table = IdTable(ids, semantic_ids, codes=codes, sizes=(8, 8), columns=columns, id_name="sku", name="out")
    manifest = {
        "config": {"model": {"quantization_method": method, "temperature": 0.5, "hidden_dimensions": [7]}, "seed": 3},
        "step": 7,
        "semantic_ids": {"scheme": "relocate", "capacity": 1, "length": 2, "sizes": [8, 8]},
        "schema": {"id_column": "sku", "columns": ["title", "year"]},
        "metrics": {"r2": 0.5, "distinct_rate": 0.9, "max_distinct_rate": 1.0, "codebook_size": [8, 8]},
        "codebooks": model_info(model),
    }
    gone = IdTable(
        ["a", "b"], semantic_ids[:2] + 6, codes=codes[:2], sizes=(8, 8), columns={"removed_in": [2, 3]}, id_name="sku"
    )
    measured = {"identical": {"num_items": 0, "num_groups": 0, "groups": []}}
    return Export(manifest, table, model, retired=gone if retired else None, measured=measured, **kwargs), vectors


def assert_same(one, other):
    assert content_of(one.manifest) == content_of(other.manifest)
    for mine, theirs in ((one.table, other.table), (one.retired, other.retired)):
        assert mine.to_arrow().equals(theirs.to_arrow())
        assert (mine.sizes, mine.id_name) == (theirs.sizes, theirs.id_name)
        assert mine.fingerprint() == theirs.fingerprint()
    assert (one.table.shared, one.table.name, one.table.figures) == (
        other.table.shared,
        other.table.name,
        other.table.figures,
    )
    assert one.measured == other.measured and one.rows_a_file == other.rows_a_file
    assert nnx.graphdef(one.model) == nnx.graphdef(other.model)
    for left, right in zip(jax.tree.leaves(nnx.state(one.model)), jax.tree.leaves(nnx.state(other.model)), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("method", ["gumbel_softmax", "simvq"])
def test_an_export_that_was_written_and_loaded_is_the_one_in_memory(tmp_path, method):
    export, vectors = make(method)
    write_export(export, tmp_path / "out")
    loaded = load_export(tmp_path / "out", verify=True)
    assert_same(export, loaded)
    assert loaded.model.quantizer.method == method and loaded.folder == tmp_path / "out"
    np.testing.assert_array_equal(loaded.encode(vectors), export.encode(vectors))
    np.testing.assert_array_equal(loaded.encode(vectors), export.table.codes)
    np.testing.assert_array_equal(loaded.decode(export.table.codes), export.decode(export.table.codes))
    write_export(loaded, tmp_path / "copy" / "out")
    assert_same(export, load_export(tmp_path / "copy" / "out"))
    for name in ("ids.parquet", "codebooks.safetensors", "codebooks.pt", "trie.npz", "retired.parquet", "report.json"):
        assert (tmp_path / "copy" / "out" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_columns_that_were_added_are_saved(tmp_path):
    export, _ = make(retired=False)
    export.table = export.table.with_columns({"color": {"sku-3": "red"}})
    write_export(export, tmp_path / "out")
    loaded = load_export(tmp_path / "out")
    assert loaded.manifest["schema"] == {"id_column": "sku", "columns": ["title", "year", "color"]}
    assert loaded.table.columns["color"].to_pylist() == [None, None, None, "red", *[None] * (NUM_ITEMS - 4)]


def test_a_table_in_several_files_comes_back(tmp_path):
    export, _ = make(rows_a_file=25)
    write_export(export, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out" / "ids.parquet").iterdir()) == [
        f"ids-0000{n}-of-00003.parquet" for n in range(3)
    ]
    loaded = load_export(tmp_path / "out")
    assert loaded.table.to_arrow().equals(export.table.to_arrow()) and loaded.rows_a_file


def test_a_loaded_export_needs_its_folder_no_more(tmp_path):
    export, vectors = make()
    write_export(export, tmp_path / "out")
    loaded = load_export(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    np.testing.assert_array_equal(loaded.encode(vectors), export.table.codes)
    assert loaded.table.semantic_id("sku-9") == (1, 1) and loaded.table.item("1-1") == "sku-9"


def test_nothing_is_compiled_to_load_and_nothing_written(tmp_path, caplog):
    write_export(make()[0], tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    jax.clear_caches()
    with jax.log_compiles():
        load_export(tmp_path / "out").model.mean  # noqa: B018
    assert not [record for record in caplog.records if "Compiling" in record.getMessage()]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}


def test_look_ups_in_a_saved_export_do_not_import_jax(tmp_path):
    write_export(make()[0], tmp_path / "out")
    code = (
        "import sys; from sid_jax.export.artifact import load_export; export = load_export(sys.argv[1]);"
        "assert export.table.semantic_id('sku-9') == (1, 1) and export.metrics['r2'] == 0.5; repr(export);"
        "assert not {'jax', 'flax', 'torch', 'scipy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=True, env=os.environ)


def test_an_export_is_shown_in_one_line_and_in_a_notebook_as_its_table():
    export, _ = make()
    assert repr(export) == "Export(IdTable('out': 60 items, Semantic IDs of 2 x 8 codes, columns title, year))"
    assert "r2 0.5" in export._repr_html_() and "sku-9" in export._repr_html_() and "sku-10" not in export._repr_html_()


def test_a_write_that_fails_leaves_nothing(tmp_path):
    export, _ = make()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UserError, match="not empty"):
        write_export(export, tmp_path / "out")
    export.manifest["step"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_export(export, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def write_old_export(folder, method):
    """Writes an export as versions of sid_jax before 0.2 did.

    Settings and metrics have other names, and the model's `info` has neither quantization method nor dropout.
    """
    export, vectors = make(method, retired=False)
    folder.mkdir()
    model, table = export.model, export.table.to_arrow()
    pq.write_table(table, folder / "ids.parquet")
    scaling = {"mean": np.asarray(model.mean[...]), "scale": np.asarray(model.scale[...])}
    info = {name: value for name, value in model_info(model).items() if name not in ("quantization_method", "dropout")}
    write_codebooks(folder, torch_weights(model), scaling, info)
    settings = {"quantization_method": method, "learned_noise": 0.0}
    manifest = {
        "format_version": 1,
        "created": "2025-05-01T12:00:00+00:00",
        "versions": {"sid_jax": "0.1.0"},
        **content_of(export.manifest),
        "config": {
            "data": {"centre": False, "standardise": "none", "held_out_path": "cold.txt"},
            "model": settings,
            "eval": {"unseen_slots": 2},
        },
        "data": {"num_items": NUM_ITEMS, "num_held_out": 4},
        "metrics": {"codebook_size": [8, 8], "distinct_rate": 0.9, "duplicate_floor": 0.95, "r2_held_out": 0.4},
        "codebooks": info,
        "semantic_ids": {"scheme": "none", "capacity": 1, "length": 2, "sizes": [8, 8], "moved": 0.25},
        "version": {"number": 1, "moved": 3},
    }
    manifest["files"] = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(folder.iterdir())
    }
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({**manifest, "digest": digest}, indent=2))
    return export, vectors


@pytest.mark.parametrize("method", ["ste", "gumbel_softmax", "simvq", "ema"])
def test_an_export_of_an_earlier_version_is_read(tmp_path, method):
    export, vectors = write_old_export(tmp_path / "out", method)
    loaded = load_export(tmp_path / "out", verify=True)
    assert loaded.model.quantizer.method == method
    np.testing.assert_array_equal(loaded.encode(vectors), export.table.codes)
    assert loaded.table.to_arrow().equals(export.table.to_arrow())
    assert loaded.metrics["max_distinct_rate"] == 0.95 and loaded.metrics["r2_cold"] == 0.4
    assert loaded.manifest["semantic_ids"]["relocated"] == 0.25 and loaded.manifest["version"]["moved"] == 3
    assert loaded.manifest["data"]["num_cold"] == 4 and loaded.measured == {} and loaded.retired is None
    config = loaded.manifest["config"]
    assert config["data"] == {"center": False, "standardize": "none", "cold_items": "cold.txt"}
    assert config["eval"] == {"cold_slots": 2}
    write_export(loaded, tmp_path / "new")
    again = load_export(tmp_path / "new", verify=True)
    assert again.model.quantizer.method == method and content_of(again.manifest)["config"] == config
