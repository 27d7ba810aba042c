"""Checks of ids and vectors that hold wherever they come from."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.data.blocks import in_blocks
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
                f"{where}: id {item_id!r} is in row {first_row[item_id]} and again in row {row} (rows count from 0); "
                "give each item one row"
            )
        first_row[item_id] = row


def check_finite(vectors: np.ndarray, ids: np.ndarray, where: str, *, first_row: int = 0) -> None:
    """Raises UserError, naming the first bad row, unless all `[N, D]` vectors are finite; the first is `first_row`."""
    bad_rows = [start + np.flatnonzero(~np.isfinite(block).all(axis=1)) for start, block in in_blocks(vectors)]
    bad = np.concatenate([*bad_rows, np.empty(0, np.int64)])
    if not len(bad):
        return
    row = int(bad[0])
    column = int(np.flatnonzero(~np.isfinite(vectors[row]))[0])
    raise UserError(
        f"{where}: row {first_row + row} (counted from 0, id {ids[row]}) has {vectors[row, column]} as float32 in "
        f"column {column}; NaN or infinite values are in {len(bad)} of {len(vectors)} rows: mend them or leave these "
        "rows out"
    )
