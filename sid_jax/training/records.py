"""What a run writes down: metrics as JSON lines, for TensorBoard and for Weights & Biases, or in memory.

They are the same after a kill and a resume. Of several processes the first alone records.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from sid_jax.errors import UserError, reason
from sid_jax.training.processes import is_first
from sid_jax.whole_file import whole_file, write_json

# Seconds: for a sign of life of the server, for the start of a run, and for what is not yet sent at its end.
_PROBE, _START, _END = 5, 30, 30


def open_records(
    workdir: Path | None, step: int, config: ConfigDict, say: Callable[[str], None]
) -> list[Records | WandbRecords | MemoryRecords]:
    """Returns what takes a run's metrics, from `step` on: in its folder and where `train.wandb` says, or in memory."""
    if not is_first():
        return []
    if workdir is None:
        return [MemoryRecords()]
    found: list[Records | WandbRecords | MemoryRecords] = [Records(workdir, step)]
    if project := config.train.get("wandb", ""):
        found.append(WandbRecords(project, workdir, config.to_dict(), say))
    return found


class MemoryRecords:
    """Metrics of a run that has no folder: `rows`, as `metrics.jsonl` has them."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def close(self) -> None:
        """Does nothing."""

    def write(self, kind: str, step: int, metrics: dict[str, Any]) -> None:
        """Keeps one row."""
        self.rows.append({"kind": kind, "step": step, **metrics})


class Records:
    """Writes metrics to `metrics.jsonl` and `tensorboard/` in the workdir.

    Args:
      workdir: the run's folder; it exists.
      step: where the run starts or resumes: what was recorded past it is dropped, since it will be recorded again.
    """

    rows: Sequence[dict[str, Any]] = ()

    def __init__(self, workdir: Path, step: int):
        # Here, since it takes a second or two where PyTorch is installed, and of several processes one needs it.
        from tensorboardX import SummaryWriter

        path = workdir / "metrics.jsonl"
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= step]
        with whole_file(path) as file:
            file.write("".join(kept).encode())
        self._file = path.open("a")
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def close(self) -> None:
        """Writes out what is left."""
        self._file.close()
        self._board.close()

    def write(self, kind: str, step: int, metrics: dict[str, Any]) -> None:
        """Writes one row; `kind` is "train" (of the steps since the last) or "eval" (of the whole corpus)."""
        self._file.write(json.dumps({"kind": kind, "step": step, **metrics}) + "\n")
        self._file.flush()
        for tag, scalar in scalars(kind, metrics).items():
            self._board.add_scalar(tag, scalar, step)


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
    return [row for row in map(json.loads, _lines(workdir / "metrics.jsonl")) if row["kind"] == kind]


def _lines(path: Path) -> list[str]:
    """Returns the whole lines of the file: a kill may have cut the last one short."""
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []


def check_wandb(project: str) -> None:
    """Raises a UserError if a project is named and the package is missing."""
    if project and importlib.util.find_spec("wandb") is None:
        raise UserError(f"config.train.wandb is {project!r}, but wandb is not installed: run pip install -e '.[wandb]'")


class WandbRecords:
    """Writes metrics to a run of a project. What goes wrong is said once, and training goes on without it.

    A workdir is one run, whose id lies in it, so that a resumed run goes on there. Without an API key or a server that
    answers, the run is kept in the workdir, in `wandb/`, for `wandb sync` to send later; WANDB_MODE has the last word.
    The workdir exists; `say` takes a line for the user.
    """

    rows: Sequence[dict[str, Any]] = ()

    def __init__(self, project: str, workdir: Path, config: Mapping[str, Any], say: Callable[[str], None]):
        self._say, self._run = say, None
        with self._harmless("this run is not recorded there"):
            self._run = _begin(project, workdir, config, say)

    def write(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes one row, against its own step: what is written again after a kill falls on the same place."""
        if self._run is None:
            return
        with self._harmless("the rest of this run is not recorded there"):
            self._run.log({"step": step, **scalars(kind, metrics)})

    def close(self) -> None:
        """Ends the run, within half a minute, whether or not all has been sent."""
        if self._run is not None:
            with self._harmless("what was not sent is in the workdir, for wandb sync"):
                self._run.finish()

    @contextlib.contextmanager
    def _harmless(self, consequence: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Its own errors are of many kinds, and none is worth a run.
            self._run = None
            self._say(f"Weights & Biases: {reason(error)}; {consequence}")


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
