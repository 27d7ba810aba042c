"""Arrays in files, opened without being read, and rows of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sid_jax.data.reason import reason
from sid_jax.errors import UserError


def open_npy(path: Path) -> np.memmap:
    """Returns the array of a .npy file, memory-mapped: its pages are read when they are used.

    Raises:
      UserError: if the file is none; objects are never unpickled.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # Whatever a damaged header makes numpy raise.
        raise UserError(
            f"{path}: not a readable .npy array of numbers ({reason(error)}); save it anew with np.save"
        ) from error


def read_rows(path: Path, offset: int, rows: np.ndarray, dtype: np.dtype, num_features: int) -> np.ndarray:
    """Returns rows `[m]` of an array `[n, num_features]` that lies row by row in a file, from a byte on.

    They are read and not mapped: the pages of a map count as the process's memory until it is closed.
    """
    found, size = np.empty((len(rows), num_features), dtype), num_features * dtype.itemsize
    with path.open("rb", buffering=0) as file:
        for vector, row in zip(found, rows.tolist(), strict=True):
            file.seek(offset + row * size)
            file.readinto(memoryview(vector).cast("B"))
    return found
