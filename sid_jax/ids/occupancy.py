"""How many items each code tuple has, by the tuples' numbers: of millions, to which a few are added again and again."""

from __future__ import annotations

import numpy as np


class Occupancy:
    """How many items each tuple has.

    What is added is kept apart from what was there from the start, which is never sorted again.

    Args:
      keys: `[M]` int64, the number of each item's tuple.
      capacity: the most that are counted of one tuple; None for all.
    """

    def __init__(self, keys: np.ndarray, capacity: int | None = None):
        names, counts = np.unique(keys, return_counts=True)
        self._known = names, counts if capacity is None else np.minimum(counts, capacity)
        self._added = names[:0], counts[:0]

    def count(self, keys: np.ndarray) -> np.ndarray:
        """Returns how many items the tuples with these numbers have, of the shape of `keys`."""
        return _look_up(*self._known, keys) + _look_up(*self._added, keys)

    def add(self, keys: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Counts items under the tuples with these numbers `[M]`: one for each, or so many."""
        counts = np.ones(len(keys), np.int64) if counts is None else counts
        names, where = np.unique(np.concatenate([self._added[0], keys]), return_inverse=True)
        total = np.zeros(len(names), np.int64)
        np.add.at(total, where, np.concatenate([self._added[1], counts]))
        self._added = names, total


def _look_up(names: np.ndarray, counts: np.ndarray, keys: np.ndarray) -> np.ndarray:
    if not len(names):
        return np.zeros(keys.shape, np.int64)
    place = np.minimum(np.searchsorted(names, keys), len(names) - 1)
    return np.where(names[place] == keys, counts[place], 0)
