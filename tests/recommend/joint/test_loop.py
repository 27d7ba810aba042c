"""Joint training from a trained tokenizer to test metrics: output, resumption of a stopped run, and wrong settings."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from sid_jax.errors import UserError
from sid_jax.export.artifact import load_export
from sid_jax.export.manifest import read_manifest
from sid_jax.recommend.joint import loop
from sid_jax.recommend.joint.tokenizer import load_tokenizer
from sid_jax.recommend.run import run
from sid_jax.recommender import load_recommender
from sid_jax.training.records import read_records


@pytest.fixture
def console():
    return Console(record=True, width=200, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123


def test_a_run_leaves_ids_that_others_read_and_a_recommender_on_them(joint_config, tokenizer, tmp_path, console):
    folder = tmp_path / "run"
    (decoder,) = run(joint_config, folder, console=console)
    export = load_export(folder / "ids-joint", verify=True)
    vectors = np.load(tokenizer.parent / "vectors.npy")
    codes = export.table.codes
    np.testing.assert_array_equal(export.encode(vectors), codes)
    semantic_ids = export.table.semantic_ids
    assert len(np.unique(semantic_ids, axis=0)) == len(vectors)
    before = load_export(tokenizer).table.codes
    assert (codes != before).any(axis=1).mean() > 0
    assert export.manifest["joint"]["estimator"] == "gumbel"
    assert export.manifest["semantic_ids"]["scheme"] == "relocate"

    joint, decoders = folder / "joint", folder / "decoder"
    steps = read_records(joint, "train")[-1]["step"]
    assert steps == export.manifest["joint"]["steps"] < read_records(decoders, "train")[-1]["step"]
    assert read_records(decoders, "train")[0]["step"] == steps + joint_config.train.log_every_steps
    # At the end there is no noise, so the codes in training agree with those of the ID table. The last ID table is the
    # exported one.
    last = read_records(joint, "train")[-1]
    assert last["agreement"] == 1
    refreshed = read_records(joint, "ids")
    assert refreshed[-1]["usage"] == export.manifest["metrics"]["usage"]
    assert max(row["churn"] for row in refreshed) > 0
    assert "of the items changed" in console.export_text()

    results = json.loads((folder / "results.json").read_text())
    assert results["test"][0]["recall@10"] == decoder.metrics["recall@10"] > 0.5
    assert results["invalid_ids"] == 0
    recommender = load_recommender(folder)
    assert len(recommender.recommend([7, 8, 9], 5)) == 5


def test_a_run_that_was_stopped_ends_as_one_that_was_not(joint_config, tmp_path, console, monkeypatch):
    _, whole = loop.train_jointly(joint_config, tmp_path / "whole", console=console)
    original, calls = loop.joint_steps, []

    def interrupted(*args, **kwargs):
        calls.append(None)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "joint_steps", interrupted)
        assert loop.train_jointly(joint_config, tmp_path / "stopped", console=console) is None
    assert not (tmp_path / "stopped" / "ids-joint").exists()
    # This call stops after the export, before the recommender's first checkpoint.
    monkeypatch.setattr(loop, "train_recommender", lambda *args, **kwargs: None)
    loop.train_jointly(joint_config, tmp_path / "stopped", console=console)
    monkeypatch.undo()
    _, resumed = loop.train_jointly(joint_config, tmp_path / "stopped", console=console)
    assert resumed.finished and resumed.step == whole.step
    for one, other in zip(jax.tree.leaves(whole.ranker.params), jax.tree.leaves(resumed.ranker.params), strict=True):
        np.testing.assert_array_equal(one, other)
    for part in ("joint", "decoder"):
        for kind in ("train", "ids", "eval"):
            assert read_records(tmp_path / "whole" / part, kind) == read_records(tmp_path / "stopped" / part, kind)
    whole_ids, stopped_ids = (read_manifest(tmp_path / name / "ids-joint") for name in ("whole", "stopped"))
    assert whole_ids["files"]["ids.parquet"] == stopped_ids["files"]["ids.parquet"]
    assert whole_ids["files"]["codebooks.safetensors"] == stopped_ids["files"]["codebooks.safetensors"]


@pytest.mark.parametrize("rate", [0.0, 1e-3])
def test_a_codeword_out_of_use_begins_anew_unless_the_codebooks_rate_is_0(rate, joint_config, tmp_path, console):
    joint_config.joint.codebook_rate = rate
    job = loop._JointJob(joint_config, load_tokenizer(joint_config, Path(joint_config.ids)), True)
    state = job._start()
    codebook = state.quantizer["quantizer"]["levels"][0]
    codebook[...] = codebook[...].at[3].set(1e3)
    state, refreshed = job._refresh(state)
    after = state.quantizer["quantizer"]["levels"][0][...]
    assert (after[3] == 1e3).all() == (rate == 0)
    assert (refreshed.usage[0] < 1) == (rate == 0)


def test_codes_that_collapse_end_the_run_in_one_line(joint_config, tmp_path, console, monkeypatch):
    original, calls = loop.encode_vectors, []

    def collapsed(model, vectors):
        calls.append(None)
        codes = original(model, vectors)
        return codes if len(calls) < 3 else np.zeros_like(codes)

    monkeypatch.setattr(loop, "encode_vectors", collapsed)
    joint_config.joint.min_usage = 0.2
    with pytest.raises(UserError, match="codes have collapsed: 12% .* raise config.joint.anchor_weight"):
        loop.train_jointly(joint_config, tmp_path / "run", console=console)
    assert not (tmp_path / "run" / "ids-joint").exists()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ids", "random", "which has no quantizer to train"),
        ("ids", "{world}/ids.npy", "joint training needs the folder of an export, or 'rqvae'"),
        ("model.kind", "sasrec", "joint training needs config.model.kind=decoder"),
        ("joint.estimator", "magic", "'none', 'gumbel', 'ste', 'soft'"),
        ("joint.stop_gradient", ("tables",), "must be one of 'encoder', 'codebooks'"),
        ("joint.min_temperature", 2.0, "above config.joint.temperature=0.5"),
        ("joint.refresh_every_steps", 7, "not a multiple of config.train.log_every_steps=5"),
        ("quantizer.data.path", "{world}/other.npy", "set --config.quantizer.data.path to the vectors of the export"),
    ],
)
def test_what_cannot_be_used_is_refused(name, value, words, joint_config, world, tmp_path, console):
    np.save(world / "other.npy", np.ones((40, 6), np.float32))
    value = value.format(world=world) if isinstance(value, str) else value
    *sections, field = name.split(".")
    owner = joint_config
    for section in sections:
        owner = owner[section]
    owner[field] = value
    with pytest.raises(UserError, match=words):
        run(joint_config, tmp_path / "run", console=console)
    assert not (tmp_path / "run" / "joint" / "checkpoints").exists()
