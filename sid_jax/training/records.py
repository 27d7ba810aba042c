"""Records the metrics of a run: in JSON lines, TensorBoard and Weights & Biases, or in memory.

A run that is killed and resumed has the same records as an uninterrupted run. With several processes, only the first
process records.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import importlib.util
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ml_collections import ConfigDict

from sid_jax.errors import UserError, reason
from sid_jax.training.processes import is_first
from sid_jax.whole_file import whole_file, write_json

# Timeouts in seconds for Weights & Biases: to check the server, to start a run, and to upload its last rows.
_PROBE, _START, _END = 5, 30, 30
# Seconds between two flushes of TensorBoard's events to disk.
_FLUSH = 30.0

METRICS_FILE = "metrics.jsonl"


class Records(Protocol):
    """A destination for the metrics of a run. Its failures never end the run."""

    rows: Sequence[dict[str, Any]]

    def write(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Records one row; `kind` is "train" for the latest steps, and `run_loop.Job.kind` for an evaluation."""

    def close(self) -> None:
        """Writes the remaining rows, and closes the destination."""


def open_records(workdir: Path | None, step: int, config: ConfigDict, say: Callable[[str], None]) -> list[Records]:
    """Returns the destinations of the metrics of a run that starts or resumes at `step`.

    With a workdir, the destinations are files in the workdir and, if `train.wandb` is set, a Weights & Biases project.
    Without a workdir, the metrics are kept in memory.
    """
    if not is_first():
        return []
    if workdir is None:
        return [MemoryRecords()]
    found: list[Records] = [FileRecords(workdir, step, say), BoardRecords(workdir / "tensorboard", step, say)]
    if project := config.train.get("wandb", ""):
        found.append(WandbRecords(project, workdir, config.to_dict(), say))
    return found


class MemoryRecords:
    """Keeps the metrics of a run that has no workdir. `rows` has them in the format of `metrics.jsonl`."""

    def __init__(self) -> None:
        self._kept: list[dict[str, Any]] = []
        self.rows: Sequence[dict[str, Any]] = self._kept

    def close(self) -> None:
        """Does nothing."""

    def write(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Appends one row to `rows`."""
        self._kept.append({"kind": kind, "step": step, **metrics})


class _Harmless(abc.ABC):
    """Base class of destinations that may fail. A failed destination is reported once, and is not used again.

    Args:
      name: the destination's name in messages.
      say: prints a line for the user.
    """

    rows: Sequence[dict[str, Any]] = ()

    def __init__(self, name: str, say: Callable[[str], None]):
        self._name, self._say, self._works = name, say, True
        with self._harmless("this run is not recorded there"):
            self._open()

    @abc.abstractmethod
    def _open(self) -> None: ...

    @abc.abstractmethod
    def _write(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None: ...

    @abc.abstractmethod
    def _close(self) -> None: ...

    def write(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes one row; see `Records.write`."""
        if self._works:
            with self._harmless("the rest of this run is not recorded there"):
                self._write(kind, step, metrics)

    def close(self) -> None:
        """Writes the remaining rows, and closes the destination."""
        if self._works:
            with self._harmless("the last metrics may be missing there"):
                self._close()

    @contextlib.contextmanager
    def _harmless(self, consequence: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Libraries raise errors of many kinds, and none may end a run.
            self._works = False
            self._say(f"{self._name}: {reason(error)}; {consequence}")


class FileRecords(_Harmless):
    """Writes metrics to `metrics.jsonl` in the workdir.

    Args:
      workdir: the run's folder, which must exist.
      step: the step at which the run starts or resumes. Rows of later steps are removed from the file, since the
        resumed run records them again.
      say: prints a line for the user.
    """

    def __init__(self, workdir: Path, step: int, say: Callable[[str], None]):
        self._path, self._step = workdir / METRICS_FILE, step
        super().__init__(str(self._path), say)

    def _open(self) -> None:
        kept = [line for line in _lines(self._path) if json.loads(line)["step"] <= self._step]
        with whole_file(self._path) as file:
            file.write("".join(kept).encode())
        self._file = self._path.open("a")

    def _write(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        self._file.write(json.dumps({"kind": kind, "step": step, **metrics}) + "\n")
        self._file.flush()

    def _close(self) -> None:
        self._file.close()


class BoardRecords(_Harmless):
    """Writes metrics for TensorBoard to a folder, and marks existing events of steps after `step` as invalid.

    Events are written in the calling thread. A `SummaryWriter` would use its own thread, which dies silently if the
    disk is full. Its queue would then fill up, and writing would block forever.
    """

    def __init__(self, folder: Path, step: int, say: Callable[[str], None]):
        self._folder, self._step = folder, step
        super().__init__(f"TensorBoard in {folder}", say)

    def _open(self) -> None:
        # tensorboardX is imported here, since only the first process needs it.
        with _without_torch():
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import SessionLog

        self._folder.mkdir(exist_ok=True)
        self._writer, self._flushed = EventsWriter(str(self._folder / "events")), 0.0
        self._event(self._step + 1, session_log=SessionLog(status=SessionLog.START))

    def _write(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        from tensorboardX.summary import scalar

        for tag, value in scalars(kind, metrics).items():
            self._event(step, summary=scalar(tag, value))
        if time.monotonic() - self._flushed > _FLUSH:
            self._writer.flush()
            self._flushed = time.monotonic()

    def _event(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), step=step, **content))

    def _close(self) -> None:
        self._writer.close()


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Hides PyTorch from imports: tensorboardX would import it, which takes a second or more and is not needed here."""
    if "torch" in sys.modules:
        yield
        return
    modules: dict[str, Any] = sys.modules
    modules["torch"] = None
    try:
        yield
    finally:
        del modules["torch"]


def scalars(kind: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row's numbers by dashboard tag. A list gets one tag per level, and a dict gets one tag per part."""
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, list):
            found |= {f"{kind}/{name}/level_{level}": each for level, each in enumerate(value, start=1)}
        elif isinstance(value, dict):
            found |= {f"{kind}/{name}/{part}": each for part, each in value.items()}
        else:
            found[f"{kind}/{name}"] = value
    return found


def read_records(workdir: Path, kind: str) -> list[dict[str, Any]]:
    """Returns the rows of one kind, in the order in which they were written."""
    return [row for row in map(json.loads, _lines(workdir / METRICS_FILE)) if row["kind"] == kind]


def _lines(path: Path) -> list[str]:
    """Returns the complete lines of the file, without a last line that a killed process left incomplete."""
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []


def check_wandb(project: str) -> None:
    """Raises a UserError if a project is set and the package wandb is not installed."""
    if project and importlib.util.find_spec("wandb") is None:
        raise UserError(
            f"config.train.wandb is {project!r}, but wandb is not installed; run pip install 'sid_jax[wandb]'"
        )


class WandbRecords(_Harmless):
    """Writes metrics to a run of a Weights & Biases project.

    Each workdir has one Weights & Biases run. Its id is stored in the workdir, so that a resumed training continues the
    same run. Without an API key or a reachable server, the run is stored in `wandb/` in the workdir, and `wandb sync`
    can upload it later; the environment variable WANDB_MODE overrides this. The workdir must exist. `say` prints a line
    for the user.
    """

    def __init__(self, project: str, workdir: Path, config: Mapping[str, Any], say: Callable[[str], None]):
        self._begin = functools.partial(_begin, project, workdir, config, say)
        super().__init__("Weights & Biases", say)

    def _open(self) -> None:
        self._run = self._begin()

    def _write(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        # "step" is the x axis of all plots. A row that a resumed run writes a second time is therefore at the same
        # position as the first time.
        self._run.log({"step": step, **scalars(kind, metrics)})

    def _close(self) -> None:
        # `finish` returns within 30 seconds. Rows that are not sent by then stay in the workdir for `wandb sync`.
        self._run.finish()


def _begin(project: str, workdir: Path, config: Mapping[str, Any], say: Callable[[str], None]) -> Any:
    import wandb

    id_file = workdir / "wandb.json"
    if not id_file.exists():
        write_json(id_file, {"id": uuid.uuid4().hex[:12]})
    settings = wandb.Settings(init_timeout=_START, finish_timeout=_END, silent=True, console="off")
    mode: Any = None
    if "WANDB_MODE" not in os.environ:
        mode = _mode(wandb, settings)
        if mode == "offline":
            say(
                "Weights & Biases: the server does not answer, or there is no valid API key; the run is stored in "
                f"{workdir / 'wandb'}; run wandb sync to upload it"
            )
    run = wandb.init(
        project=project,
        id=json.loads(id_file.read_text())["id"],
        name=workdir.name,
        dir=str(workdir),
        config=dict(config),
        mode=mode,
        resume="allow",
        reinit="create_new",
        settings=settings,
    )
    run.define_metric("step")
    run.define_metric("*", step_metric="step")
    return run


def _mode(wandb: Any, settings: Any) -> str:
    """Returns "online" if the server accepts an API key, else "offline". Never prompts for a key, which would block."""
    # wandb takes the server's address from environment variables and the user's configuration files.
    url = wandb.setup(settings=settings).settings.base_url
    try:
        # An HTTP error also shows that the server answers.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(url, timeout=_PROBE).close()
    except (OSError, ValueError):
        return "offline"
    try:
        return "online" if wandb.login(prompt=False) else "offline"
    except wandb.Error:
        # The server rejected the key, or stopped answering.
        return "offline"
