"""Distinct values and membership for large arrays, by sorting.

Since NumPy 2.3, `np.unique` hashes integers, and so does `np.isin`, which calls it. If most values differ, hashing
takes twelve times as long as sorting.
"""

from __future__ import annotations

import numpy as np


def distinct(values: np.ndarray) -> np.ndarray:
    """Returns the distinct values `[M]` of an array `[N]`, ascending, as `np.unique` does."""
    in_order = np.sort(values)
    return in_order[np.append(np.ones(len(in_order[:1]), bool), in_order[1:] != in_order[:-1])]


def is_among(values: np.ndarray, in_order: np.ndarray) -> np.ndarray:
    """Returns a mask `[N]` bool of the values `[N]` that are in an ascending array `[M]`, M at least 1."""
    place = np.minimum(np.searchsorted(in_order, values), len(in_order) - 1)
    return in_order[place] == values
