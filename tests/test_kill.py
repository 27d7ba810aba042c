"""Commands that are killed at any moment and started again give the same result.

`python -m tests.trials --by=kill --times=100` kills a hundred commands.
"""

import random
import time

import pytest

from tests.commands import run, start
from tests.trials import kill_once, make_world

# For each kill: the command, and the earliest and the latest time of the kill, as shares of the command's duration. The
# first half of the duration is mostly start-up.
KILLS = [("train", 0.3, 0.6), ("train", 0.6, 1.0), ("export", 0.5, 1.0), ("append", 0.5, 1.0)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), ("train", "export", "append"))


@pytest.mark.parametrize("kill", range(len(KILLS)))
def test_killed_and_started_again_it_ends_the_same(world, tmp_path, kill):
    command, first, last = KILLS[kill]
    kill_once(world, command, random.Random(kill).uniform(first, last), tmp_path)


def test_sigterm_saves_and_ends_with_its_status_and_export_waits_for_the_rest(world, tmp_path):
    process = start(*world.words("train", tmp_path / "run"))
    while not list((tmp_path / "run").glob("metrics.jsonl")) or not (tmp_path / "run" / "metrics.jsonl").read_text():
        time.sleep(0.05)
    process.terminate()
    stdout, stderr = process.communicate()
    assert (process.returncode, stderr) == (143, "stopped by SIGTERM\n")
    assert "Stopped and saved at step" in stdout
    exported = run("export.py", f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'out'}")
    assert exported.returncode != 0 and "is not finished" in exported.stderr
    assert not (tmp_path / "out").exists()
