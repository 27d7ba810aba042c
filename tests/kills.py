"""Kills train, export and append without warning at random moments, and sees that nothing is lost by it.

python -m tests.kills --kills=100 --seed=0

Of each kill it is seen that a reader who looks at the destination all the while never finds half an export, that the
same command then ends as one that nothing disturbed, and that the export which was published before is what it was.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import logging

from sid_jax.export.artifact import load_export
from sid_jax.training.restore import restore_run
from tests.commands import finish, start

COMMANDS = ("train", "export", "append")
# Beyond the end of an undisturbed command, since no two take equally long.
_LATEST = 1.05


@dataclasses.dataclass(frozen=True)
class World:
    """What commands work on, and what each comes to when nothing disturbs it.

    Attributes:
      folder: vectors, `items.npy`, new ones, `new.parquet`, items that leave, `gone.txt`; a run, `train`, its export,
        `export`, and the next version, `append`.
      seconds: of each command.
    """

    folder: Path
    seconds: dict[str, float]

    def words(self, command: str, out: Path) -> list[str]:
        """Returns what a user types after `python`."""
        folder = self.folder
        return {
            "train": [
                "train.py", "--config=configs/embeddings.py:gumbel", f"--config.data.path={folder / 'items.npy'}",
                "--config.model.codebook_size=32", "--config.model.hidden_dimensions=(64,)",
                "--config.train.batch_size=64", "--config.train.num_epochs=200", "--config.train.log_every_steps=20",
                "--config.train.eval_every_epochs=12.0", "--config.model.dropout=0.1", f"--workdir={out}",
            ],
            "export": ["export.py", f"--workdir={folder / 'train'}", f"--out={out}"],
            "append": [
                "export.py", f"--append_to={folder / 'export'}", f"--input={folder / 'new.parquet'}",
                f"--remove={folder / 'gone.txt'}", f"--out={out}",
            ],
        }[command]  # fmt: skip


def make_world(folder: Path) -> World:
    """Runs each command once, undisturbed."""
    vectors = np.random.default_rng(0).normal(size=(460, 16)).astype(np.float32)
    np.save(folder / "items.npy", vectors[:400])
    # Some of them are known already.
    lists = pa.array(list(vectors[390:]), pa.list_(pa.float32()))
    pq.write_table(pa.table({"item_id": np.arange(390, 460), "vector": lists}), folder / "new.parquet")
    (folder / "gone.txt").write_text("\n".join(map(str, range(0, 100, 7))))
    world = World(folder, {})
    for command in COMMANDS:
        began = time.monotonic()
        ended = finish(start(*world.words(command, folder / command)))
        if ended.returncode:
            raise AssertionError(ended.stderr)
        world.seconds[command] = time.monotonic() - began
    return world


def kill_once(world: World, command: str, share: float, folder: Path) -> str:
    """Kills a command after a share of its time, runs it again, and returns what was seen.

    Raises:
      AssertionError: if anything is not as it should be.
    """
    out, published = folder / "out", _content(world.folder / "export")
    process = start(*world.words(command, out))
    deadline = time.monotonic() + share * world.seconds[command]
    while time.monotonic() < deadline and process.poll() is None:
        _look(command, out)
        time.sleep(0.01)
    process.kill()
    process.communicate()
    left = "had ended" if process.returncode == 0 else "killed"
    again = start(*world.words(command, out))
    while process_runs(again):
        _look(command, out)
    ended = finish(again)
    assert ended.returncode == 0, f"{command}, after a kill: {ended.stderr}"
    assert [path.name for path in folder.iterdir()] == ["out"], "something was left beside what was made"
    _look(command, out)
    if command == "train":
        assert _same_run(world.folder / "train", out), "the run is not the one that nothing disturbed"
    else:
        assert _content(out) == _content(world.folder / command), "the export is not the one that nothing disturbed"
        assert (out / "report.html").exists(), "the report is missing"
    assert _content(world.folder / "export") == published, "what was published has changed"
    return left


def process_runs(process: subprocess.Popen[str]) -> bool:
    """Waits a little and returns whether the process is still at work."""
    try:
        process.wait(0.02)
    except subprocess.TimeoutExpired:
        return True
    return False


def _look(command: str, out: Path) -> None:
    """Reads what is at the destination: all of an export, or nothing."""
    if command != "train" and out.exists():
        load_export(out, verify=True)


def _content(export: Path) -> dict[str, Any]:
    """Returns every file that an export's manifest lists, and of the manifest what is not the time it was written at.

    The report is no part of it: it is made of the others when they are there, and names their folder.
    """
    manifest = json.loads((export / "manifest.json").read_text())
    content: dict[str, Any] = {name: (export / name).read_bytes() for name in manifest["files"]}
    return {**content, "manifest.json": {k: v for k, v in manifest.items() if k not in ("created", "digest")}}


def _same_run(one: Path, other: Path) -> bool:
    undisturbed, resumed = restore_run(one), restore_run(other)
    pairs = zip(jax.tree.leaves(undisturbed.state), jax.tree.leaves(resumed.state), strict=True)
    return undisturbed.step == resumed.step and all(np.array_equal(*pair) for pair in pairs)


def main() -> None:
    """Kills as often as is asked for, and ends with status 1 unless all went well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    arguments = parser.parse_args()
    logging.set_verbosity(logging.FATAL)
    with tempfile.TemporaryDirectory(prefix="sid_jax-kills-") as name:
        folder = Path(name)
        (folder / "world").mkdir()
        world = make_world(folder / "world")
        print("undisturbed: " + ", ".join(f"{k} {seconds:.1f} s" for k, seconds in world.seconds.items()), flush=True)

        def one(number: int) -> bool:
            command = COMMANDS[number % len(COMMANDS)]
            share = random.Random(f"{arguments.seed}-{number}").uniform(0, _LATEST)
            mine = folder / str(number)
            mine.mkdir()
            try:
                said = kill_once(world, command, share, mine)
            except Exception as error:  # Whatever it is, the others are to be tried too.
                said = f"WRONG: {type(error).__name__}: {error}"
            print(f"{number + 1:4} {command:7} at {share:5.1%} of its time, {said}", flush=True)
            shutil.rmtree(mine)
            return not said.startswith("WRONG")

        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as threads:
            right = sum(threads.map(one, range(arguments.kills)))
    print(f"{right} of {arguments.kills}")
    sys.exit(right < arguments.kills)


if __name__ == "__main__":
    main()
