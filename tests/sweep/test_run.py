"""A sweep whose results come from a formula, and a sweep with a real run."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from sid_jax.config import default_config
from sid_jax.errors import UserError
from sid_jax.messages import Messages
from sid_jax.presets import set_mlp
from sid_jax.sweep import run as sweep_run
from sid_jax.sweep.run import sweep
from sid_jax.sweep.space import Between, OneOf
from sid_jax.sweep.study import Study
from sid_jax.training.records import read_records
from sid_jax.training.workdir import alone_in

SPACE = {"train.learning_rate": Between(1e-4, 1e-1, log=True), "model.hidden_dimensions": OneOf((8,), (16,))}


@pytest.fixture
def config(tmp_path):
    np.save(tmp_path / "items.npy", np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32))
    config = default_config()
    set_mlp(config)
    config.data.path = str(tmp_path / "items.npy")
    config.model.update({"codebook_size": 4, "latent_dimension": 4, "num_levels": 2, "hidden_dimensions": (8,)})
    config.train.update({"batch_size": 40, "num_epochs": 2, "warmup_epochs": 0.5, "eval_every_epochs": 1.0})
    return config


class Trainer:
    """Replaces training: writes metrics that are a function of the settings, or fails as a test requests."""

    def __init__(self):
        self.trained, self.instead = [], {}

    def __call__(self, config, folder, messages):
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        number, rate = int(folder.name), float(config.train.learning_rate)
        self.trained.append((number, rate, config.model.hidden_dimensions))
        instead = self.instead.pop(number, None)
        if isinstance(instead, BaseException):
            raise instead
        if instead == "stop":
            return False
        rows = [(1, 2.0, -1.0), (2, min(1.0, 10 * rate), 1 - 5 * rate), (3, 0.5, -2.0)]
        with (folder / "metrics.jsonl").open("w") as file:
            for step, distinct_rate, r2 in rows:
                row = {"kind": "eval", "step": step, "distinct_rate": distinct_rate, "r2": r2, "max_distinct_rate": 0.9}
                file.write(json.dumps(row) + "\n")
        return True


@pytest.fixture
def trainer(monkeypatch):
    trainer = Trainer()
    monkeypatch.setattr(sweep_run, "train", trainer)
    return trainer


def go(config, workdir, num_trials, space=SPACE):
    console = Console(file=io.StringIO(), width=150)
    front = sweep(config, space, workdir, num_trials=num_trials, messages=Messages.to_console(console))
    return front, console.file.getvalue()


def numbers(trials):
    return [trial.number for trial in trials]


def test_the_front_is_what_no_trial_beats(config, tmp_path, trainer):
    front, output = go(config, tmp_path / "sweep", 8)
    trials = Study(tmp_path / "sweep" / "sweep.db", SPACE, 0, None).trials()
    assert numbers(trials) == list(range(8)) and {trial.state for trial in trials} == {"complete"}
    # The metrics of a trial are those of its checkpoint with the best R^2, which an export would use.
    for trial, (_, rate, _) in zip(trials, trainer.trained, strict=True):
        assert trial.values == (min(1.0, 10 * rate), 1 - 5 * rate)

    def beaten(one):
        return any(
            other.values != one.values and all(b >= a for a, b in zip(one.values, other.values, strict=True))
            for other in trials
        )

    assert sorted(numbers(front)) == [trial.number for trial in trials if not beaten(trial)]
    assert [trial.values[0] for trial in front] == sorted(trial.values[0] for trial in front)
    # The first trial has the unchanged config, and only trials on the front keep checkpoints.
    assert trainer.trained[0] == (0, 1e-3, (8,))
    kept = sorted(int(path.parent.name) for path in (tmp_path / "sweep" / "trials").glob("*/checkpoints"))
    assert kept == sorted(numbers(front))
    assert f"sid-jax export --workdir={tmp_path / 'sweep' / 'trials' / str(front[-1].number)}" in output
    assert "at most 0.9000" in output and "hidden_dimensions=(8,)" in output
    assert (tmp_path / "sweep" / "front.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("instead", ["stop", KeyboardInterrupt()])
def test_a_trial_that_was_cut_off_goes_on_and_the_sweep_ends_as_if_nothing_had_been(config, tmp_path, trainer, instead):
    go(config, tmp_path / "whole", 5)
    whole, trainer.trained = trainer.trained, []
    trainer.instead[2] = instead
    if instead == "stop":
        front, output = go(config, tmp_path / "cut", 5)
        assert front == [] and "Stopped in trial 2. Run the same command to resume" in output
    else:
        with pytest.raises(type(instead)):
            go(config, tmp_path / "cut", 5)
    go(config, tmp_path / "cut", 4)
    go(config, tmp_path / "cut", 5)
    # The third trial was started twice, in the same folder and with the same settings.
    assert trainer.trained == [*whole[:3], *whole[2:]]
    states = [trial.state for trial in Study(tmp_path / "cut" / "sweep.db", SPACE, 0, None).trials()]
    assert states == ["complete"] * 5


def test_a_failed_trial_is_one_of_many_and_one_that_keeps_dying_is_given_up(config, tmp_path, trainer):
    trainer.instead[1] = UserError("training has diverged")
    trainer.instead[3] = MemoryError("too much")
    for _ in range(3):
        trainer.instead[2] = SystemExit()
        with pytest.raises(SystemExit):
            go(config, tmp_path / "sweep", 6)
    _, output = go(config, tmp_path / "sweep", 6)
    states = [trial.state for trial in Study(tmp_path / "sweep" / "sweep.db", SPACE, 0, None).trials()]
    assert states == ["complete", "failed", "failed", "failed", "complete", "complete"]
    assert "trial   2  failed: its process died 3 times" in output and "trial   3  failed: too much" in output
    assert "6 trials (3 failed)" in output


def test_failures_without_end_stop_the_sweep(config, tmp_path, trainer):
    trainer.instead = {number: UserError("the disk is full") for number in range(9)}
    with pytest.raises(UserError, match="3 trials in a row failed, the last one with: the disk is full"):
        go(config, tmp_path / "sweep", 9)
    assert len(trainer.trained) == 3


def test_another_sweep_is_kept_out(config, tmp_path, trainer):
    go(config, tmp_path / "sweep", 1)
    config.train.num_epochs = 3
    with pytest.raises(UserError, match="train.num_epochs was 2 and is now 3"):
        go(config, tmp_path / "sweep", 2)
    config.train.num_epochs = 2
    go(config, tmp_path / "sweep", 2)
    with pytest.raises(UserError, match="the search space"):
        go(config, tmp_path / "sweep", 3, {"train.learning_rate": Between(1e-4, 1e-2)})
    np.save(tmp_path / "items.npy", np.ones((80, 6), np.float32))
    with pytest.raises(UserError, match="vectors, ids or histories"):
        go(config, tmp_path / "sweep", 3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="does not contain a sweep"):
        go(config, tmp_path / "mine", 1)
    (tmp_path / "broken.db").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match="broken.db cannot be used for a sweep"):
        Study(tmp_path / "broken.db", SPACE, 0, None)
    with alone_in(tmp_path / "sweep"):
        config.data.path = str(tmp_path / "again.npy")
        np.save(tmp_path / "again.npy", np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32))
        with pytest.raises(UserError, match="another process is using"):
            go(config, tmp_path / "sweep", 3)


def test_what_is_missing_is_said_before_anything_is_written(config, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"a sweep needs optuna and matplotlib; run pip install 'sid_jax\[sweep\]'"):
        go(config, tmp_path / "sweep", 1)
    assert not (tmp_path / "sweep").exists()


def test_a_real_run(config, tmp_path):
    # Residual k-means compiles fastest.
    config.model.update({"encoder": "identity", "quantization_method": "ema", "num_levels": 1})
    space = {"train.learning_rate": OneOf(1e-3, 1e-2)}
    front, _ = go(config, tmp_path / "sweep", 1, space)
    folder = tmp_path / "sweep" / "trials" / "0"
    best = max(read_records(folder, "eval"), key=lambda row: row["r2"])
    assert [trial.values for trial in front] == [(best["distinct_rate"], best["r2"])]
    assert {path.name for path in folder.iterdir()} >= {"run.json", "checkpoints", "tensorboard"}
