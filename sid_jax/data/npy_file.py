"""Arrays in files, opened without being read, and rows of them."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import ml_dtypes
import numpy as np

from sid_jax.data.arrow_columns import FLOAT_TYPES
from sid_jax.data.reason import reason
from sid_jax.errors import UserError

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def open_npy(path: Path) -> np.memmap:
    """Returns the array of a .npy file, memory-mapped: its pages are read when they are used.

    Raises:
      UserError: if the file is none; objects are never unpickled.
    """
    try:
        with np.errstate(all="ignore"):  # Sizes that are too large are refused, without a warning before it.
            return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # Whatever a damaged header makes numpy raise.
        raise UserError(
            f"{path}: not a readable .npy array of numbers ({reason(error)}); save it anew with np.save"
        ) from error


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the header of a .npy file up to where its array begins.

    Returns:
      Shape, whether it lies column by column, and type.

    Raises:
      Exception: whatever a damaged one makes numpy raise.
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in readers:
        raise ValueError(f"version {version} of the .npy format is not one of arrays of numbers")
    return readers[version](stream)


def check_vectors(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.dtype:
    """Returns the type of an array that a file says it holds, after seeing that it is one of vectors.

    NumPy, which knows no bfloat16, writes such an array as one of 2-byte voids: nothing else is written so.

    Raises:
      UserError: if it is something else.
    """
    if dtype == np.dtype("V2"):
        dtype = _BFLOAT16
    if dtype != _BFLOAT16 and (dtype.kind != "f" or dtype.itemsize > 8):
        raise UserError(f"{path}: expected bfloat16, {FLOAT_TYPES}, found {dtype}; save the vectors as float32")
    if len(shape) != 2 or shape[0] < 0 or shape[1] < 1:
        raise UserError(f"{path}: expected an array [N, D] with items and features, found shape {list(shape)}")
    return dtype


def read_rows(path: Path, offset: int, rows: np.ndarray, dtype: np.dtype, num_features: int) -> np.ndarray:
    """Returns rows `[m]` of an array `[n, num_features]` that lies row by row in a file, from a byte on.

    They are read and not mapped: the pages of a map count as the process's memory until it is closed.
    """
    found, size = np.empty((len(rows), num_features), dtype), num_features * dtype.itemsize
    with path.open("rb", buffering=0) as file:
        for vector, row in zip(found.view(np.uint8), rows.tolist(), strict=True):
            file.seek(offset + row * size)
            file.readinto(vector)
    return found
