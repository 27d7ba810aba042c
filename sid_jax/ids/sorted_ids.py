"""Semantic IDs in sorted order, with binary search. In this order, items with a common prefix are adjacent."""

from __future__ import annotations

import functools
from bisect import bisect_left, bisect_right

import numpy as np


class SortedIds:
    """The Semantic IDs of N items in sorted order.

    Attributes:
      order: `[N]`, the rows sorted by Semantic ID; rows with the same ID keep their order.
      levels: `[L, N]`, the sorted Semantic IDs. They are stored level by level, so that the codes that follow a prefix
        are one sorted, contiguous block of memory.
      repeated: `[n]`, the positions in the sorted order at which the ID equals the ID at the next position.
    """

    def __init__(self, semantic_ids: np.ndarray):
        self.order = np.lexsort(semantic_ids.T[::-1])
        self.levels = np.ascontiguousarray(semantic_ids[self.order].T)
        self.repeated = np.flatnonzero((self.levels[:, 1:] == self.levels[:, :-1]).all(axis=0))

    def range_of(self, prefix: tuple[int, ...]) -> tuple[int, int]:
        """Returns the range of the items with a prefix, in the sorted order: the first position, and the last plus 1.

        The two positions are equal if no item has the prefix.
        """
        first, end = 0, len(self.order)
        for level, code in zip(self.levels, prefix, strict=False):
            first, end = bisect_left(level, code, first, end), bisect_right(level, code, first, end)
        return first, end

    def ranges_of(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ranges of the items that have the Semantic IDs `wanted` `[n, L]`, in the sorted order.

        Returns:
          For each ID, the first position of its items, `[n]`, and the position after the last one, `[n]`. The two
          positions are equal if no item has the ID.
        """
        if len(wanted) == 1:
            # The codes are searched level by level, so that `_bytes` need not be built for one ID.
            found = self.range_of(tuple(wanted[0].tolist()))
            return np.array(found[:1]), np.array(found[1:])
        # Bytes sort like the numbers only from 0 to 2^31 - 1. IDs with other codes get an empty range below.
        names = _as_bytes(wanted.clip(0, 2**31 - 1))
        first = np.searchsorted(self._bytes, names)
        if len(self.repeated) or not len(self.order):
            end = np.searchsorted(self._bytes, names, "right")
        else:
            # All IDs are distinct, so one comparison replaces the second search.
            end = first + (self._bytes[np.minimum(first, len(self.order) - 1)] == names)
        possible = ((wanted >= 0) & (wanted < 2**31)).all(axis=1)
        return first, np.where(possible, end, first)

    def neighbors(self, row: int, own: tuple[int, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows of at most `count` items that have the longest common prefixes with an item.

        Args:
          row: the item's row, which is not returned.
          own: the item's Semantic ID.
          count: maximum number of rows.

        Returns:
          `[n]` rows, those with the longest common prefix first, and `[n]` int64, the length of each common prefix.
        """
        found, shared = [np.empty(0, np.intp)], [np.empty(0, np.int64)]
        # At each depth, `begin` to `end` is the range of the items that share a prefix of more than `depth` codes with
        # the given item. The range is empty at depth L.
        begin, end = [self.range_of(own)[0]] * 2
        for depth in range(len(own), 0, -1):
            first, last = self.range_of(own[:depth])
            wanted = count - sum(map(len, found))
            # On each side of this range, up to `wanted` + 1 rows are taken. One more than needed is taken because the
            # item itself may be among them, and is removed.
            sides = ((low, min(high, low + wanted + 1)) for low, high in ((first, begin), (end, last)))
            rows = np.concatenate([self.order[low:high] for low, high in sides])
            found.append(rows[rows != row][:wanted])
            shared.append(np.full(len(found[-1]), depth))
            begin, end = first, last
        return np.concatenate(found), np.concatenate(shared)

    @functools.cached_property
    def _bytes(self) -> np.ndarray:
        return _as_bytes(self.levels.T)


def _as_bytes(semantic_ids: np.ndarray) -> np.ndarray:
    """Converts Semantic IDs `[N, L]`, which are not negative, to byte strings `[N]` with the same sort order."""
    # The type is `np.void`, since NumPy ignores trailing zero bytes of byte strings of type "S".
    return np.ascontiguousarray(semantic_ids, ">i4").view(np.dtype((np.void, 4 * semantic_ids.shape[1]))).reshape(-1)
