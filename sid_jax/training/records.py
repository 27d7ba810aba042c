"""What a run writes down: metrics as JSON lines, for TensorBoard and for Weights & Biases, or in memory.

They are the same after a kill and a resume. Of several processes the first alone records.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import importlib.util
import json
import os
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

# Seconds: for a sign of life of the server, for the start of a run, and for what is not yet sent at its end.
_PROBE, _START, _END = 5, 30, 30
# Seconds between two times that TensorBoard's events are written to the disk.
_FLUSH = 30.0

METRICS_FILE = "metrics.jsonl"


class Records(Protocol):
    """What takes the metrics of a run, and never ends it."""

    rows: Sequence[dict[str, Any]]

    def write(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Takes one row; `kind` is "train" (of the steps since the last) or "eval" (of the whole corpus)."""

    def close(self) -> None:
        """Writes out what is left."""


def open_records(workdir: Path | None, step: int, config: ConfigDict, say: Callable[[str], None]) -> list[Records]:
    """Returns what takes a run's metrics, from `step` on: in its folder and where `train.wandb` says, or in memory."""
    if not is_first():
        return []
    if workdir is None:
        return [MemoryRecords()]
    found: list[Records] = [FileRecords(workdir, step, say), BoardRecords(workdir / "tensorboard", step, say)]
    if project := config.train.get("wandb", ""):
        found.append(WandbRecords(project, workdir, config.to_dict(), say))
    return found


class MemoryRecords:
    """Metrics of a run that has no folder: `rows`, as `metrics.jsonl` has them."""

    def __init__(self) -> None:
        self._kept: list[dict[str, Any]] = []
        self.rows: Sequence[dict[str, Any]] = self._kept

    def close(self) -> None:
        """Does nothing."""

    def write(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Keeps one row."""
        self._kept.append({"kind": kind, "step": step, **metrics})


class _Harmless(abc.ABC):
    """What takes metrics and may fail: that is said once, and training goes on without it.

    Args:
      name: what a person knows it by.
      say: takes a line for the user.
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
        """Writes one row; `kind` is "train" (of the steps since the last) or "eval" (of the whole corpus)."""
        if self._works:
            with self._harmless("the rest of this run is not recorded there"):
                self._write(kind, step, metrics)

    def close(self) -> None:
        """Writes out what is left."""
        if self._works:
            with self._harmless("the last rows may be missing there"):
                self._close()

    @contextlib.contextmanager
    def _harmless(self, consequence: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Libraries' own errors are of many kinds, and none is worth a run.
            self._works = False
            self._say(f"{self._name}: {reason(error)}; {consequence}")


class FileRecords(_Harmless):
    """Writes metrics to `metrics.jsonl` in the workdir.

    Args:
      workdir: the run's folder; it exists.
      step: where the run starts or resumes: what was recorded past it is dropped, since it will be recorded again.
      say: takes a line for the user.
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
    """Writes metrics for TensorBoard to a folder; events past `step` are told to be void.

    They are written by this thread. A `SummaryWriter` has one of its own, which dies of a full disk unnoticed, after
    which its queue fills and whoever writes waits forever.
    """

    def __init__(self, folder: Path, step: int, say: Callable[[str], None]):
        self._folder, self._step = folder, step
        super().__init__(f"TensorBoard in {folder}", say)

    def _open(self) -> None:
        # Here, since it takes a second or two where PyTorch is installed, and of several processes one needs it.
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


def scalars(kind: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row's numbers by the names that boards know them by; of a list each level's, of a dict each part's."""
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
    """Returns the rows of one kind, in order."""
    return [row for row in map(json.loads, _lines(workdir / METRICS_FILE)) if row["kind"] == kind]


def _lines(path: Path) -> list[str]:
    """Returns the whole lines of the file: a kill may have cut the last one short."""
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []


def check_wandb(project: str) -> None:
    """Raises a UserError if a project is named and the package is missing."""
    if project and importlib.util.find_spec("wandb") is None:
        raise UserError(f"config.train.wandb is {project!r}, but wandb is not installed: run pip install -e '.[wandb]'")


class WandbRecords(_Harmless):
    """Writes metrics to a run of a project.

    A workdir is one run, whose id lies in it, so that a resumed run goes on there. Without an API key or a server that
    answers, the run is kept in the workdir, in `wandb/`, for `wandb sync` to send later; WANDB_MODE has the last word.
    The workdir exists; `say` takes a line for the user.
    """

    def __init__(self, project: str, workdir: Path, config: Mapping[str, Any], say: Callable[[str], None]):
        self._begin = functools.partial(_begin, project, workdir, config, say)
        super().__init__("Weights & Biases", say)

    def _open(self) -> None:
        self._run = self._begin()

    def _write(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        # Against its own step: what is written again after a kill falls on the same place.
        self._run.log({"step": step, **scalars(kind, metrics)})

    def _close(self) -> None:
        # Within half a minute, whether or not all has been sent; the rest is in the workdir, for wandb sync.
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
                f"Weights & Biases: no server that answers, or no API key that it knows; the run is kept in "
                f"{workdir / 'wandb'}, and wandb sync sends it"
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
    """Returns "online" if there are a server and a key; nobody is asked for a key, which would hold up the run."""
    # What the environment and the user's files say of the server is known to the package's own settings alone.
    url = wandb.setup(settings=settings).settings.base_url
    try:
        # A refusal is an answer too.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(url, timeout=_PROBE).close()
    except (OSError, ValueError):
        return "offline"
    try:
        return "online" if wandb.login(prompt=False) else "offline"
    except wandb.Error:
        # A key that the server does not know, or a server that fell silent.
        return "offline"
