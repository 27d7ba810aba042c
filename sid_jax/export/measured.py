"""What a report shows and only the run can tell: how training went, what codes keep, which items are the same.

It is kept in the export as `report.json`, since vectors and workdir may be gone when the report is made.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from sid_jax.data.blocks import in_blocks, take_rows
from sid_jax.data.reason import reason
from sid_jax.data.scaling import normalize
from sid_jax.errors import UserError
from sid_jax.ids.fidelity import fidelity_by_depth
from sid_jax.ids.quality import explained_by_prefix
from sid_jax.ids.yardstick import kmeans_r2, random_r2
from sid_jax.json_file import write_json
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.health import row_hashes
from sid_jax.streams import stream_rng
from sid_jax.training.records import read_records

MEASURED_FILE = "report.json"
MEASURED_VERSION = 1
# Items that fidelity is measured on, here and by residual k-means: beyond, a random sample, and the report says so.
_MOST_ITEMS = 10_000
_MOST_POINTS = 200
_MOST_GROUPS = 50
_MOST_ITEMS_OF_A_GROUP = 20


def write_measured(
    folder: Path,
    workdir: Path,
    *,
    model: RQVAE | None = None,
    codes: np.ndarray | None = None,
    vectors: np.ndarray | None = None,
) -> None:
    """Writes `report.json`; without model, final codes `[N, L]` and vectors `[N, D]` it has the training alone."""
    content: dict[str, Any] = {"training": training_curves(workdir)}
    if model is not None and codes is not None and vectors is not None:
        content |= {"fidelity": _fidelity(model, codes, vectors), "identical": identical_items(vectors)}
    _write(folder, content)


def hand_on_training(before: Path, folder: Path) -> None:
    """Writes the `report.json` of an export's next version, by the same model: of that before, if any, the training."""
    measured = read_measured(before)
    if measured:
        _write(folder, {"training": measured.get("training", {})})


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
    return measured


def _write(folder: Path, content: dict[str, Any]) -> None:
    write_json(folder / MEASURED_FILE, {"format_version": MEASURED_VERSION, **content})


def training_curves(workdir: Path) -> dict[str, dict[str, list[Any]]]:
    """Returns of each kind of record its numbers by name, each as a list over at most 200 steps, the last among them.

    A number that is not finite is None; one for each level becomes `name/1`, `name/2`, …
    """
    return {kind: _columns(_thinned(read_records(workdir, kind))) for kind in ("train", "eval")}


def identical_items(vectors: np.ndarray) -> dict[str, Any]:
    """Returns how many items have the vector of another one, in how many groups, and the rows of the largest groups."""
    hashes = np.concatenate([row_hashes(block) for _, block in in_blocks(vectors)])
    order = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(np.append(True, hashes[order][1:] != hashes[order][:-1]))
    sizes = np.diff(np.append(starts, len(order)))
    largest = np.argsort(-sizes, kind="stable")[:_MOST_GROUPS]
    rows = [order[starts[each] : starts[each] + sizes[each]][:_MOST_ITEMS_OF_A_GROUP] for each in largest]
    return {
        "num_items": int(sizes[sizes > 1].sum()),
        "num_groups": int((sizes > 1).sum()),
        "groups": [
            {"size": int(sizes[each]), "rows": some.tolist()}
            for each, some in zip(largest, rows, strict=True)
            if sizes[each] > 1
        ],
    }


def _fidelity(model: RQVAE, codes: np.ndarray, vectors: np.ndarray) -> dict[str, Any]:
    rows = np.arange(len(vectors))
    if len(rows) > _MOST_ITEMS:
        rows = np.sort(stream_rng(0, "report/fidelity").choice(len(vectors), _MOST_ITEMS, replace=False))
    sample, sizes = take_rows(vectors, rows), model.quantizer.codebook_sizes
    inputs = np.asarray(normalize(jnp.asarray(sample), model.unit_norm))
    return {
        "num_items": len(rows),
        "r2": [each["r2"] for each in fidelity_by_depth(model, codes[rows].astype(np.int32), sample)],
        "kmeans_r2": kmeans_r2(inputs, sizes),
        "random_r2": random_r2(len(rows), sizes),
        "between_prefixes": explained_by_prefix(codes[rows], inputs),
    }


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
