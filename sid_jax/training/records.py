"""What a run writes down: metrics as JSON lines and for TensorBoard, the same after a kill and a resume."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Records:
    """Writes metrics to `metrics.jsonl` and `tensorboard/` in the workdir.

    Args:
      workdir: the run's folder; it exists.
      step: where the run starts or resumes: what was recorded past it is dropped, since it will be recorded again.
    """

    def __init__(self, workdir: Path, step: int):
        # Here, since it takes a second or two where PyTorch is installed, and of several processes one needs it.
        from tensorboardX import SummaryWriter

        path = workdir / "metrics.jsonl"
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= step]
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text("".join(kept))
        partial.replace(path)
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
    """Returns a row's numbers by the names that boards know them by; of a list, each level's."""
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, list):
            found |= {f"{kind}/{name}/level_{level}": each for level, each in enumerate(value, start=1)}
        else:
            found[f"{kind}/{name}"] = value
    return found


def read_records(workdir: Path, kind: str) -> list[dict[str, Any]]:
    """Returns the rows of one kind, in order."""
    return [row for row in map(json.loads, _lines(workdir / "metrics.jsonl")) if row["kind"] == kind]


def _lines(path: Path) -> list[str]:
    """Returns the whole lines of the file: a kill may have cut the last one short."""
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []
