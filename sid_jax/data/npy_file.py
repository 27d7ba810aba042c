"""Arrays in .npy files, opened without being read."""

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
