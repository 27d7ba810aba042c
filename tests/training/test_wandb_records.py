"""The real package, without a network: what it keeps in the workdir, and what it must not do to a run."""

from __future__ import annotations

import builtins
import io
import json
import sys
import types

import pytest
from rich.console import Console

from sid_jax.errors import UserError
from sid_jax.training.loop import train
from sid_jax.training.records import read_records
from sid_jax.training.wandb_records import WandbRecords, check_wandb


class FakeRun:
    def __init__(self, fails=()):
        self.rows, self.defined, self.finished, self._fails = [], [], False, fails

    def define_metric(self, *args, **kwargs):
        self.defined.append((args, kwargs))

    def log(self, row):
        if "log" in self._fails:
            raise RuntimeError("connection\nlost")
        self.rows.append(row)

    def finish(self):
        self.finished = True
        if "finish" in self._fails:
            raise TimeoutError("too long")


@pytest.fixture
def fake(monkeypatch):
    """A package that knows how it was called."""
    module = types.SimpleNamespace(calls=[], logged_in=True, fails=(), run=None)
    module.Settings = lambda **kwargs: types.SimpleNamespace(base_url="http://localhost:1", **kwargs)
    module.setup = lambda settings: None
    module.login = lambda prompt: module.logged_in and not prompt

    def init(**kwargs):
        module.calls.append(kwargs)
        if "init" in module.fails:
            raise RuntimeError("no such entity")
        module.run = FakeRun(module.fails)
        return module.run

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return module


def records(folder, said):
    return WandbRecords("films", folder, {"seed": 0}, said.append)


def test_a_resumed_run_is_the_same_run(fake, tmp_path):
    said = []
    for _ in range(2):
        writer = records(tmp_path, said)
        writer.write("train", 10, {"loss": 0.5, "usage": [0.25, 1.0]})
        writer.close()
    first, second = fake.calls
    assert first == {**second, "settings": first["settings"]}
    assert (first["project"], first["resume"], first["dir"]) == ("films", "allow", str(tmp_path))
    assert first["id"] == json.loads((tmp_path / "wandb.json").read_text())["id"]
    assert fake.run.rows == [{"step": 10, "train/loss": 0.5, "train/usage/level_1": 0.25, "train/usage/level_2": 1.0}]
    assert (("*",), {"step_metric": "step"}) in fake.run.defined and fake.run.finished
    # Nothing waits for a network for long, and nobody is asked for a key.
    assert first["settings"].init_timeout == first["settings"].finish_timeout == 30
    # The server does not answer.
    assert first["mode"] == "offline" and "wandb sync sends it" in said[0]


def test_the_environment_has_the_last_word(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    said = []
    records(tmp_path, said)
    assert fake.calls[0]["mode"] is None and not said


@pytest.mark.parametrize("fails", ["init", "log", "finish"])
def test_what_goes_wrong_is_said_once_and_does_no_harm(fake, tmp_path, monkeypatch, fails):
    monkeypatch.setenv("WANDB_MODE", "online")
    fake.fails, said = (fails,), []
    writer = records(tmp_path, said)
    for step in range(3):
        writer.write("eval", step, {"r2": 0.5})
    writer.close()
    assert len(said) == 1 and said[0].startswith("Weights & Biases: ") and "\n" not in said[0]


def test_without_the_package_a_run_is_refused_at_once(monkeypatch):
    check_wandb("")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_wandb("")
    with pytest.raises(UserError, match=r"pip install -e '.\[wandb\]'"):
        check_wandb("films")


def test_it_is_off_by_default_and_then_not_even_imported(config, tmp_path, monkeypatch):
    real = builtins.__import__

    def guarded(name, *args, **kwargs):
        assert not name.startswith("wandb")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", guarded)
    config.train.num_epochs = 1
    train(config, tmp_path / "run", console=Console(file=io.StringIO()))
    assert not (tmp_path / "run" / "wandb").exists()
    # A run may be told of later: the setting may differ, and what it is for is done.
    monkeypatch.setattr(builtins, "__import__", real)
    monkeypatch.setenv("WANDB_MODE", "offline")
    config.train.wandb = "films"
    train(config, tmp_path / "run", console=Console(file=io.StringIO()))
    folder = tmp_path / "run" / "wandb"
    run_id = json.loads((tmp_path / "run" / "wandb.json").read_text())["id"]
    assert [path.name.split("-")[-1] for path in folder.glob("offline-run-*")] == [run_id]
    assert len(read_records(tmp_path / "run", "eval")) == 1


def test_an_unreachable_server_costs_a_run_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://localhost:1")
    said = []
    writer = records(tmp_path, said)
    writer.write("train", 1, {"loss": 1.0})
    writer.close()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(folder.glob("run-*.wandb"))[0].stat().st_size > 0
    assert len(said) == 1 and "no server that answers" in said[0]
