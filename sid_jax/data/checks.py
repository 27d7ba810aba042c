"""Checks of ids and vectors that hold wherever they come from."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.data.blocks import in_blocks
from sid_jax.data.reason import shown
from sid_jax.errors import UserError


def check_unique(ids: np.ndarray, where: str) -> None:
    """Raises UserError, naming the first id that came before and its two rows, unless all `[N]` ids differ."""
    if ids.dtype.kind in "iu" and np.all(ids[1:] > ids[:-1]):
        return  # As row numbers are: without a table of all of them.
    if pc.count_distinct(pa.array(ids)).as_py() == len(ids):
        return
    first_row: dict[object, int] = {}
    for row, item_id in enumerate(ids.tolist()):
        if item_id in first_row:
            raise UserError(
                f"{where}: id {shown(item_id)} is in row {first_row[item_id]} and again in row {row} (rows count from "
                "0); give each item one row"
            )
        first_row[item_id] = row


def check_finite(vectors: np.ndarray, ids: np.ndarray, where: str) -> None:
    """Raises UserError, naming the first bad row, unless all `[N, D]` vectors are finite."""
    bad = np.concatenate([start + not_finite(block) for start, block in in_blocks(vectors)] or [np.empty(0, np.int64)])
    if len(bad):
        row = int(bad[0])
        raise UserError(
            f"{where}: {bad_value(vectors[row], row, ids[row : row + 1].tolist()[0])}; NaN or infinite values are in "
            f"{len(bad)} of {len(vectors)} rows: mend them or leave these rows out"
        )


def not_finite(vectors: np.ndarray) -> np.ndarray:
    """Returns which rows of `[n, D]` hold NaN or infinite values."""
    return np.flatnonzero(~np.isfinite(vectors).all(axis=1))


def bad_value(vector: np.ndarray, row: int, item_id: object) -> str:
    """Says where a vector `[D]` is not finite, in words."""
    column = int(np.flatnonzero(~np.isfinite(vector))[0])
    return f"row {row} (counted from 0, id {shown(item_id)}) has {vector[column]} as float32 in column {column}"
