"""Workdirs in buckets: a killed run resumes from its last checkpoint in the bucket, also on another machine."""

import json
import shutil

import numpy as np
import pytest

import sid_jax
from sid_jax import UserError
from sid_jax.buckets.mirror import Mirror, workdir_of
from sid_jax.export.weights import model_hash
from sid_jax.paths import as_path
from sid_jax.training.records import read_records
from sid_jax.training.restore import restore_model
from tests.buckets.conftest import names, write

RUN = "memory://b/runs/items"
SETTINGS = {
    "num_levels": 2,
    "codebook_size": 8,
    "latent_dimension": 4,
    "hidden_dimensions": (8,),
    "batch_size": 32,
    "num_epochs": 4,
    "train.eval_every_epochs": 1.0,
    "log_every_steps": 2,
}
VECTORS = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)


class Killed(BaseException):
    """Raised to end a run, as SIGKILL would."""


def fit(workdir):
    return sid_jax.SemanticIdTokenizer(**SETTINGS).fit(VECTORS, workdir=workdir, verbose=False)


def listed(bucket):
    return json.loads(bucket.cat_file("/b/runs/items/workdir.json"))["files"]


def test_a_killed_run_goes_on_from_its_last_whole_checkpoint_without_the_machine_that_began_it(
    bucket, monkeypatch, tmp_path
):
    whole = fit(tmp_path / "run")
    put, sync, count = bucket.put_file, Mirror.sync, 0

    def dying(self):
        nonlocal count
        count += 1
        if count == 3:  # The run is killed during the upload of the third checkpoint.
            objects = iter(range(3))
            monkeypatch.setattr(bucket, "put_file", lambda *each: put(*each) if next(objects) < 2 else killed())
        sync(self)

    def killed():
        raise Killed

    monkeypatch.setattr(Mirror, "sync", dying)
    with pytest.raises(Killed):
        fit(RUN)
    monkeypatch.undo()
    monkeypatch.setenv("SID_JAX_CACHE", str(tmp_path / "another machine"))
    assert read_records(as_path(RUN), "eval")[-1]["step"] == 4, "a reader does not see the second checkpoint"
    resumed = fit(RUN)
    assert resumed.table.fingerprint() == whole.table.fingerprint() and resumed.metrics == whole.metrics
    assert names(bucket, RUN) == sorted([*listed(bucket), "workdir.json"]), "objects of the killed run were not deleted"
    steps = [row["step"] for row in read_records(as_path(RUN), "eval")]
    assert steps == [row["step"] for row in read_records(tmp_path / "run", "eval")]
    _, model, step = restore_model(as_path(RUN), None)
    assert step == whole.export.manifest["step"]
    assert model_hash(model) == model_hash(whole.export.model)


def test_of_two_runs_in_one_workdir_the_first_one_stops(bucket, monkeypatch, tmp_path):
    with (
        pytest.raises(UserError, match="another process has begun to train in this --workdir"),
        workdir_of(RUN) as first,
    ):
        (first / "run.json").write_text("of the first")
        monkeypatch.setenv("SID_JAX_CACHE", str(tmp_path / "another machine"))
        with workdir_of(RUN) as second:
            (second / "run.json").write_text("of the second")
        assert second != first
    assert (as_path(RUN) / "run.json").read_text() == "of the second"


def test_a_folder_with_other_objects_is_refused(bucket):
    write(f"{RUN}/mine.txt", "mine")
    with pytest.raises(UserError, match="is not empty, and does not contain a run; choose another"), workdir_of(RUN):
        pass
    assert names(bucket, RUN) == ["mine.txt"]


def test_only_the_listed_bytes_of_a_file_that_grows_are_read(bucket):
    with workdir_of(RUN) as workdir:
        (workdir / "metrics.jsonl").write_text("one\n")
        (workdir / "run.json").write_text('{"a": 1}')
        (workdir / ".lock").write_text("")
    assert sorted(listed(bucket)) == ["metrics.jsonl", "run.json"]
    write(f"{RUN}/metrics.jsonl", "one\ntwo\n")
    write(f"{RUN}/run.json", '{"a": 100}')
    assert (as_path(RUN) / "metrics.jsonl").read_text() == "one\n"
    assert (as_path(RUN) / "run.json").read_text() == '{"a": 100}'
    write(f"{RUN}/metrics.jsonl", "on")
    shutil.rmtree(as_path(RUN).parent)
    with pytest.raises(
        UserError, match=r"metrics\.jsonl has 2 bytes, but workdir\.json lists 4, so the file was changed"
    ):
        as_path(RUN)
