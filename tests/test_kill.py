"""Killed without warning at any moment, and started again, a run ends where it would have ended."""

import random
import signal
import time

import numpy as np
import pytest

from sid_jax.training.restore import restore_run
from tests.commands import run, start
from tests.training.test_loop import same_state

# One in the first half of a run, one in the second.
KILLS = 2


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    np.save(folder / "items.npy", np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32))
    return [
        "train.py", "--config=configs/embeddings.py:gumbel", f"--config.data.path={folder / 'items.npy'}",
        "--config.model.codebook_size=32", "--config.model.hidden_dimensions=(64,)", "--config.train.batch_size=64",
        "--config.train.num_epochs=200", "--config.train.log_every_steps=20", "--config.train.eval_every_epochs=12.0",
        "--config.model.dropout=0.1",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(flags, tmp_path_factory):
    """A run that nothing disturbed, and how long it took once it had its workdir."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    process = start(*flags, f"--workdir={workdir}")
    while not workdir.exists():
        time.sleep(0.05)
    started = time.monotonic()
    assert process.wait() == 0
    return workdir, time.monotonic() - started


@pytest.mark.parametrize("kill", range(KILLS))
def test_killed_and_started_again_it_ends_the_same(flags, whole, tmp_path, kill):
    workdir, seconds = whole
    share = random.Random(kill).uniform(kill / KILLS, (kill + 1) / KILLS)
    process = start(*flags, f"--workdir={tmp_path / 'run'}")
    while not (tmp_path / "run").exists():
        time.sleep(0.01)
    time.sleep(share * seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = run(*flags, f"--workdir={tmp_path / 'run'}")
    assert finished.returncode == 0, finished.stderr
    undisturbed, resumed = restore_run(workdir), restore_run(tmp_path / "run")
    assert undisturbed.step == resumed.step
    assert same_state(undisturbed.state, resumed.state)


def test_sigterm_saves_and_ends_well_and_export_waits_for_the_rest(flags, tmp_path):
    process = start(*flags, f"--workdir={tmp_path / 'run'}")
    while not list((tmp_path / "run").glob("metrics.jsonl")) or not (tmp_path / "run" / "metrics.jsonl").read_text():
        time.sleep(0.05)
    process.terminate()
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "Stopped and saved at step" in stdout
    exported = run("export.py", f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'out'}")
    assert exported.returncode != 0 and "is not finished" in exported.stderr
    assert not (tmp_path / "out").exists()
