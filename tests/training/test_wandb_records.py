"""Weights & Biases without a network: its files are in the workdir, and its failures have no effect on the run."""

from __future__ import annotations

import http.server
import json
import sys
import threading
import types

import pytest

from sid_jax.errors import UserError
from sid_jax.training.quantizer import train
from sid_jax.training.records import WandbRecords, check_wandb, open_records, read_records


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
    """A fake `wandb` package that records the calls to it."""
    module = types.SimpleNamespace(calls=[], logged_in=True, fails=(), run=None)
    module.url, module.Error = "http://localhost:1", RuntimeError
    module.Settings = types.SimpleNamespace
    module.setup = lambda settings: types.SimpleNamespace(settings=types.SimpleNamespace(base_url=module.url))

    def login(prompt):
        assert not prompt
        if module.logged_in is None:
            raise RuntimeError("the key is not known")
        return module.logged_in

    module.login = login

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
    # No call waits long for a network, and there is no prompt for a key.
    assert first["settings"].init_timeout == first["settings"].finish_timeout == 30
    # The server does not answer, so the run is offline.
    assert first["mode"] == "offline" and "run wandb sync to upload it" in said[0]


class Refuses(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(("logged_in", "mode"), [(True, "online"), (False, "offline"), (None, "offline")])
def test_a_run_is_online_where_a_server_answers_and_there_is_a_key(fake, tmp_path, logged_in, mode):
    with http.server.HTTPServer(("localhost", 0), Refuses) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        fake.url, fake.logged_in = f"http://localhost:{server.server_port}", logged_in
        records(tmp_path, [])
    assert fake.calls[0]["mode"] == mode


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
    with pytest.raises(UserError, match=r"pip install 'sid_jax\[wandb\]'"):
        check_wandb("films")


def test_training_refuses_it_before_anything_else(config, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    config.train.wandb, config.data.path = "films", "nowhere.npy"
    with pytest.raises(UserError, match="wandb is not installed"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def report(config, workdir, step):
    """Writes a row of metrics for a run that starts or resumes at step `step`."""
    for each in open_records(workdir, step, config, print):
        each.write("train", step + 2, {"loss": 1.0})
        each.close()


def test_it_is_off_by_default_and_then_not_even_imported(config, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    report(config, tmp_path, 0)
    assert "wandb" not in sys.modules and not (tmp_path / "wandb").exists()


def test_two_starts_of_a_run_are_one_run_in_the_real_package(config, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    config.train.wandb = "films"
    for step in (0, 2):
        report(config, tmp_path, step)
    run_id = json.loads((tmp_path / "wandb.json").read_text())["id"]
    files = list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert {file.name for file in files} == {f"run-{run_id}.wandb"} and all(file.stat().st_size for file in files)
    assert [row["step"] for row in read_records(tmp_path, "train")] == [2, 4]


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
    assert len(said) == 1 and "there is no valid API key" in said[0]
