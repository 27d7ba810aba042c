"""Disturbs commands at random moments, repeatedly, and checks that nothing is lost.

python -m tests.trials --by=kill --times=100 --seed=0

The option --by selects the disturbance. kill: the process is killed without warning. full_disk: the output disk becomes
full; this disk is a tmpfs, which only root may mount. company: the command is started a second time for the same
folder, usually while the first one runs.

Each trial checks three conditions. A reader that polls the destination never finds an incomplete export. The repeated
command gives the same result as without a disturbance. The previously published export is unchanged.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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

COMMANDS = ("train", "export", "append", "recommend")
# The latest time of a disturbance, as a share of the undisturbed duration. It is above 1, since durations vary.
_LATEST = 1.05
# A command that takes longer than this number of seconds is assumed to hang.
_PATIENCE_S = 300


@dataclasses.dataclass(frozen=True)
class World:
    """The inputs of the commands, and the undisturbed result of each command.

    Attributes:
      folder: contains inputs and results. The inputs are `items.npy` (vectors), `new.parquet` (vectors of new items),
        `gone.txt` (items to remove) and `sequences.txt` (histories). The results are `train` (a run), `export` (its
        export), `append` (the next version) and `recommend` (a recommender).
      seconds: duration of each command.
    """

    folder: Path
    seconds: dict[str, float]

    def words(self, command: str, out: Path) -> list[str]:
        """Returns the arguments of `python` for a command that writes to `out`."""
        folder = self.folder
        return {
            "train": [
                "train.py", "--config=configs/embeddings.py:gumbel", f"--config.data.path={folder / 'items.npy'}",
                "--config.model.codebook_size=32", "--config.model.hidden_dimensions=(64,)",
                "--config.train.batch_size=64", "--config.train.num_epochs=100", "--config.train.log_every_steps=20",
                "--config.train.eval_every_epochs=12.0", "--config.model.dropout=0.1", f"--workdir={out}",
            ],
            "export": ["export.py", f"--workdir={folder / 'train'}", f"--out={out}"],
            "append": [
                "export.py", f"--append_to={folder / 'export'}", f"--input={folder / 'new.parquet'}",
                f"--remove={folder / 'gone.txt'}", f"--out={out}",
            ],
            "recommend": [
                "-m", "sid_jax", "recommend", "--config=recommend:beauty", f"--config.ids={folder / 'export'}",
                f"--config.data.path={folder / 'sequences.txt'}", "--config.model.features=16",
                "--config.model.num_layers=1", "--config.model.hidden=16", "--config.train.num_epochs=60",
                "--config.eval.baselines=('popularity',)", "--config.eval.bootstrap_samples=20", f"--workdir={out}",
            ],
        }[command]  # fmt: skip


def make_world(folder: Path, commands: tuple[str, ...] = COMMANDS) -> World:
    """Writes the inputs, runs each command once without a disturbance, and returns the inputs and results."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(460, 16)).astype(np.float32)
    np.save(folder / "items.npy", vectors[:400])
    # The first ten items of this file are already in the export.
    lists = pa.array(list(vectors[390:]), pa.list_(pa.float32()))
    pq.write_table(pa.table({"item_id": np.arange(390, 460), "vector": lists}), folder / "new.parquet")
    (folder / "gone.txt").write_text("\n".join(map(str, range(0, 100, 7))))
    histories = [[user, *random.choice(400, 8, replace=False)] for user in range(300)]
    (folder / "sequences.txt").write_text("\n".join(" ".join(map(str, each)) for each in histories))
    world = World(folder, {})
    for command in commands:
        began = time.monotonic()
        ended = finish(start(*world.words(command, folder / command)))
        if ended.returncode:
            raise AssertionError(ended.stderr)
        world.seconds[command] = time.monotonic() - began
    return world


def kill_once(world: World, command: str, share: float, folder: Path) -> str:
    """Kills a command after a share of its time, runs it again, and returns "killed" or "had already ended".

    Raises:
      AssertionError: if a check fails.
    """
    out, published = folder / "out", _content(world.folder / "export")
    process = start(*world.words(command, out))
    _wait_and_look(world, command, share, out, process)
    process.kill()
    process.communicate()
    left = "had already ended" if process.returncode == 0 else "killed"
    again = start(*world.words(command, out))
    while process_runs(again):
        _look(command, out)
    ended = finish(again)
    assert ended.returncode == 0, f"{command}, after a kill: {ended.stderr}"
    assert [path.name for path in folder.iterdir()] == ["out"], "other files were left beside the result"
    _assert_undisturbed(world, command, out)
    assert _content(world.folder / "export") == published, "the published export has changed"
    return left


def fill_disk_once(world: World, command: str, share: float, folder: Path) -> str:
    """Fills the disk after a share of a command's time, frees it when the command has ended, and repeats the command.

    Raises:
      AssertionError: if the command hangs or fails without a one-line error, if the repeated command fails or gives a
        different result, or if the published export has changed.
    """
    published = _content(world.folder / "export")
    with _small_disk(folder / "disk") as disk:
        out = disk / "out"
        process = start(*world.words(command, out))
        _wait_and_look(world, command, share, out, process)
        had_ended = process.poll() is not None
        ballast = disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        ended = _finish(process)
        ballast.unlink()
        _assert_one_line(ended)
        again = _finish(start(*world.words(command, out)))
        assert again.returncode == 0, f"{command}, after the disk was freed: {again.stderr}"
        _assert_undisturbed(world, command, out)
    assert _content(world.folder / "export") == published, "the published export has changed"
    if had_ended:
        return "had already ended"
    return "ended with a one-line error" if ended.returncode else "succeeded although the disk was full"


def join_once(world: World, command: str, share: float, folder: Path) -> str:
    """Starts a command, and starts it a second time for the same folder after a share of its time.

    Raises:
      AssertionError: if both commands fail, if one fails without a one-line error, if the result is not that of a
        single command, or if the published export has changed.
    """
    out, published = folder / "out", _content(world.folder / "export")
    first = start(*world.words(command, out))
    _wait_and_look(world, command, share, out, first)
    had_ended = first.poll() is not None
    second = start(*world.words(command, out))
    both = [_finish(first), _finish(second)]
    for ended in both:
        _assert_one_line(ended)
    assert any(ended.returncode == 0 for ended in both), [ended.stderr for ended in both]
    _assert_undisturbed(world, command, out)
    assert _content(world.folder / "export") == published, "the published export has changed"
    refused = [number for number, ended in zip(("first", "second"), both, strict=True) if ended.returncode]
    return f"the {refused[0]} was refused" if refused else "had already ended" if had_ended else "both ended well"


def process_runs(process: subprocess.Popen[str]) -> bool:
    """Waits briefly and returns whether the process is still running."""
    try:
        process.wait(0.02)
    except subprocess.TimeoutExpired:
        return True
    return False


def _wait_and_look(world: World, command: str, share: float, out: Path, process: subprocess.Popen[str]) -> None:
    """Polls the destination until a share of the command's time is over."""
    deadline = time.monotonic() + share * world.seconds[command]
    while time.monotonic() < deadline and process.poll() is None:
        _look(command, out)
        time.sleep(0.01)


def _finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    try:
        stdout, stderr = process.communicate(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise AssertionError("the command hangs") from None
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """Yields a folder on a separate disk of 64 MB."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _assert_one_line(ended: subprocess.CompletedProcess[str]) -> None:
    """Checks that a failed command prints a one-line error; warnings may precede it."""
    lines = ended.stderr.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert "Traceback" not in ended.stderr, ended.stderr
    assert ended.returncode == 0 or (len(errors) == 1 and lines[-1] == errors[0]), ended.stderr


def _look(command: str, out: Path) -> None:
    """Checks that the destination is a complete export, or does not exist."""
    if command in ("export", "append") and out.exists():
        load_export(out, verify=True)


def _assert_undisturbed(world: World, command: str, out: Path) -> None:
    """Checks that a result is equal to that of the undisturbed command."""
    undisturbed = world.folder / command
    _look(command, out)
    if command == "train":
        assert _same_run(undisturbed, out), "the run differs from the undisturbed one"
    elif command == "recommend":
        assert _figures(out) == _figures(undisturbed), "the metrics differ from those of the undisturbed run"
        for name in ("parameters.safetensors", "items.safetensors", "ids.parquet"):
            ours, theirs = ((each / "recommender" / name).read_bytes() for each in (out, undisturbed))
            assert ours == theirs, f"{name} differs from the same file of the undisturbed run"
    else:
        assert _content(out) == _content(undisturbed), "the export differs from the undisturbed one"
        assert (out / "report.html").exists(), "the report is missing"


def _figures(workdir: Path) -> Any:
    return json.loads((workdir / "results.json").read_text())["test"]


def _content(export: Path) -> dict[str, Any]:
    """Returns every file that an export's manifest lists, and the manifest without its time and digest.

    The report is excluded, since it is made from the other files and names their folder.
    """
    manifest = json.loads((export / "manifest.json").read_text())
    content: dict[str, Any] = {name: (export / name).read_bytes() for name in manifest["files"]}
    return {**content, "manifest.json": {k: v for k, v in manifest.items() if k not in ("created", "digest")}}


def _same_run(one: Path, other: Path) -> bool:
    undisturbed, resumed = restore_run(one), restore_run(other)
    pairs = zip(jax.tree.leaves(undisturbed.state), jax.tree.leaves(resumed.state), strict=True)
    return undisturbed.step == resumed.step and all(np.array_equal(*pair) for pair in pairs)


_DISTURBANCES: dict[str, Callable[[World, str, float, Path], str]] = {
    "kill": kill_once,
    "full_disk": fill_disk_once,
    "company": join_once,
}


def main() -> None:
    """Runs the requested number of trials, and exits with status 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--by", choices=tuple(_DISTURBANCES), default="kill")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="number of trials at a time")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=COMMANDS)
    arguments = parser.parse_args()
    logging.set_verbosity(logging.FATAL)
    with tempfile.TemporaryDirectory(prefix="sid_jax-trials-") as name:
        folder = Path(name)
        (folder / "world").mkdir()
        world = make_world(folder / "world")
        print("undisturbed: " + ", ".join(f"{k} {seconds:.1f} s" for k, seconds in world.seconds.items()), flush=True)

        def one(number: int) -> bool:
            command = arguments.commands[number % len(arguments.commands)]
            share = random.Random(f"{arguments.seed}-{number}").uniform(0, _LATEST)
            mine = folder / str(number)
            mine.mkdir()
            try:
                said = _DISTURBANCES[arguments.by](world, command, share, mine)
            except Exception as error:  # The other trials still run, whatever the error is.
                said = f"WRONG: {type(error).__name__}: {error}"
            print(f"{number + 1:4} {command:9} at {share:5.1%} of its time: {said}", flush=True)
            shutil.rmtree(mine)
            return not said.startswith("WRONG")

        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as threads:
            right = sum(threads.map(one, range(arguments.times)))
    print(f"{right} of {arguments.times} trials passed")
    sys.exit(right < arguments.times)


if __name__ == "__main__":
    main()
