"""Which items are in two tables."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def comparable(one: np.ndarray, other: np.ndarray) -> tuple[pa.Array, pa.Array]:
    """Returns two arrays of item ids in one type: numbers if both are numbers, else text."""
    if one.dtype.kind in "iu" and other.dtype.kind in "iu":
        return pa.array(one.astype(np.int64)), pa.array(other.astype(np.int64))
    return pa.array(list(map(str, one.tolist())), pa.string()), pa.array(list(map(str, other.tolist())), pa.string())


def common_rows(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows `[n]` of two arrays of item ids in which the items of both stand, in the order of the first."""
    have, wanted = comparable(one, other)
    found = pc.fill_null(pc.index_in(have, value_set=wanted), -1).to_numpy()
    rows = np.flatnonzero(found >= 0)
    return rows, found[rows].astype(np.int64)
