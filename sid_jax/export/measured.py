"""What a report shows and only the run can tell: how training went, what codes keep, which items are the same.

It is kept in the export as `report.json`, since vectors and workdir may be gone when the report is made.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sid_jax.data.reason import reason
from sid_jax.errors import UserError
from sid_jax.json_file import write_json
from sid_jax.training.records import read_records

MEASURED_FILE = "report.json"
MEASURED_VERSION = 1
_MOST_POINTS = 200


def write_measured(folder: Path, measured: Mapping[str, Any], records: Path | None = None) -> None:
    """Writes `report.json`: what was measured, and the curves of the training that a folder has records of."""
    content = {**measured, **({} if records is None else {"training": training_curves(records)})}
    if content:
        write_json(folder / MEASURED_FILE, {"format_version": MEASURED_VERSION, **content})


def read_measured(folder: Path) -> dict[str, Any]:
    """Returns what `report.json` holds; nothing of an export that has none.

    Raises:
      UserError: if it cannot be read, or is of another format.
    """
    path = folder / MEASURED_FILE
    if not path.exists():
        return {}
    try:
        measured = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}; export again") from error
    if measured.get("format_version") != MEASURED_VERSION:
        raise UserError(f"{path} is not of format {MEASURED_VERSION}, which this sid_jax reads: export again")
    del measured["format_version"]
    return measured


def training_curves(workdir: Path) -> dict[str, dict[str, list[Any]]]:
    """Returns of each kind of record its numbers by name, each as a list over at most 200 steps, the last among them.

    A number that is not finite is None; one for each level becomes `name/1`, `name/2`, …
    """
    return {kind: _columns(_thinned(read_records(workdir, kind))) for kind in ("train", "eval")}


def _thinned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(rows) <= _MOST_POINTS:
        return rows
    return [rows[number] for number in np.linspace(0, len(rows) - 1, _MOST_POINTS).round().astype(int)]


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    flat = [dict(_flat(row)) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    return {name: [row.get(name) for row in flat] for name in names}


def _flat(row: dict[str, Any]) -> list[tuple[str, float | None]]:
    numbers: list[tuple[str, float | None]] = []
    for name, value in row.items():
        values = (
            {f"{name}/{level}": each for level, each in enumerate(value, 1)}
            if isinstance(value, list)
            else {name: value}
        )
        numbers += [
            (key, each if math.isfinite(each) else None)
            for key, each in values.items()
            if isinstance(each, (int, float))
        ]
    return numbers
