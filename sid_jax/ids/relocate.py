"""Unique Semantic IDs of L codes: of the items under one code tuple, all but as many as may stay move to a free one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from sid_jax.errors import UserError
from sid_jax.ids.matching import deferred_acceptance, first_in_group

# From rows `[M]` and a width: code tuples `[M, C, L]` int32 that each item could have, all different, its own first,
# and what each costs, `[M, C]` float32.
Alternatives = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]

# Tuples looked at for each item, at first and at last; four times as many each time for items that found no place.
_FIRST_WIDTH, _LAST_WIDTH = 32, 2048
# Tuples of all items looked at together: bounds the memory, whatever N.
_TUPLES_AT_ONCE = 2**21


def relocate(
    codes: np.ndarray, ids: np.ndarray, sizes: Sequence[int], alternatives: Alternatives, *, capacity: int = 1
) -> np.ndarray:
    """Gives each item a code tuple that it shares with fewer than `capacity` others, near to what its own stands for.

    An item that is alone under its tuple keeps it. Of those who share one, the items stay whose next best free tuple
    would cost them most; the others move to free tuples, and where several want the same one, it goes again to whom
    the next best would cost most. So the result is a function of the pairs (id, codes) and the alternatives, not of the
    order of the rows.

    Args:
      codes: `[N, L]` int32.
      ids: `[N]` item ids, all integers or all strings, no two alike; they settle ties.
      sizes: K of each level.
      alternatives: what an item could have instead, and at what cost.
      capacity: how many items may share a tuple.

    Returns:
      `[N, L]` int32.

    Raises:
      UserError: if there are more items than places.
    """
    places = capacity * math.prod(sizes)
    if len(codes) > places:
        raise UserError(
            f"{len(codes):,} items cannot each have a Semantic ID of {len(sizes)} codes of {tuple(sizes)}, which make "
            f"{places:,} places: choose more codes or levels, or export with --unique=suffix"
        )
    placing = _Placing(codes, ids, sizes, alternatives, capacity)
    homeless = [
        placing.place(rows, _FIRST_WIDTH, staying=capacity)
        for rows in _whole_buckets(placing.crowded(), placing.keys, _TUPLES_AT_ONCE // _FIRST_WIDTH)
    ]
    width = 4 * _FIRST_WIDTH
    while width <= _LAST_WIDTH and any(map(len, homeless)):
        waiting, at_once = np.concatenate(homeless), _TUPLES_AT_ONCE // width
        homeless = [placing.place(waiting[n : n + at_once], width) for n in range(0, len(waiting), at_once)]
        width *= 4
    for rows in homeless:
        placing.fill_up(rows)
    return placing.codes


class _Placing:
    """The tuples that items have so far, as codes and as numbers, and how many items each tuple has."""

    def __init__(
        self, codes: np.ndarray, ids: np.ndarray, sizes: Sequence[int], alternatives: Alternatives, capacity: int
    ):
        self.codes, self.keys = codes.copy(), _keys(codes, sizes)
        self._sizes, self._alternatives, self._capacity = tuple(sizes), alternatives, capacity
        self._rank = np.empty(len(ids), np.int64)
        self._rank[sorted(range(len(ids)), key=ids.tolist().__getitem__)] = np.arange(len(ids))
        # Sorted; the items that will not stay under their own tuple are not counted.
        self._taken, counts = np.unique(self.keys, return_counts=True)
        self._counts = np.minimum(counts, capacity)

    def crowded(self) -> np.ndarray:
        """Returns the rows under a tuple with more items than it may have, tuple by tuple."""
        order = np.lexsort((self._rank, self.keys))
        _, where, counts = np.unique(self.keys[order], return_inverse=True, return_counts=True)
        return order[counts[where] > self._capacity]

    def place(self, rows: np.ndarray, width: int, *, staying: int = 0) -> np.ndarray:
        """Moves rows to free tuples, but for so many of each tuple who stay, and returns those who found none."""
        codes, costs = self._alternatives(rows, width)
        keys = _keys(codes, self._sizes)
        room = self._room(keys)
        # Nobody asks for the tuple that is the own: those who stay are counted there already.
        costs = np.where((room > 0) & (keys != self.keys[rows, None]), costs - costs[:, :1].astype(np.float64), np.inf)
        if staying:
            moving = ~first_in_group(self.keys[rows], costs.min(axis=1), self._rank[rows], np.full(len(rows), staying))
            rows, codes, keys, room, costs = (each[moving] for each in (rows, codes, keys, room, costs))
        chosen = deferred_acceptance(keys, costs, room, self._rank[rows])
        found = np.flatnonzero(chosen >= 0)
        self._move(rows[found], codes[found, chosen[found]])
        return rows[chosen < 0]

    def fill_up(self, rows: np.ndarray) -> None:
        """Gives rows the tuples with room that follow their own in the order of their numbers, from the last level on.

        It is for more items alike than the widest beam has tuples.
        """
        by_key = rows[np.lexsort((self._rank[rows], self.keys[rows]))]
        starts = np.flatnonzero(np.diff(self.keys[by_key], prepend=self.keys[by_key][:1] - 1))
        for bucket in np.split(by_key, starts[1:]) if len(by_key) else []:
            found: list[np.ndarray] = []
            for codes in _following(self.codes[bucket[0]], self._sizes, len(bucket)):
                room = self._room(_keys(codes, self._sizes))
                found.append(np.repeat(codes, np.maximum(room, 0), axis=0))
                if sum(map(len, found)) >= len(bucket):
                    break
            self._move(bucket, np.concatenate(found)[: len(bucket)])

    def _room(self, keys: np.ndarray) -> np.ndarray:
        place = np.minimum(np.searchsorted(self._taken, keys), len(self._taken) - 1)
        return self._capacity - np.where(self._taken[place] == keys, self._counts[place], 0)

    def _move(self, rows: np.ndarray, codes: np.ndarray) -> None:
        self.codes[rows], keys = codes, _keys(codes, self._sizes)
        self.keys[rows] = keys
        more, counts = np.unique(keys, return_counts=True)
        both, where = np.unique(np.concatenate([self._taken, more]), return_inverse=True)
        self._taken, total = both, np.zeros(len(both), np.int64)
        np.add.at(total, where, np.concatenate([self._counts, counts]))
        self._counts = total


def _whole_buckets(rows: np.ndarray, keys: np.ndarray, most: int) -> list[np.ndarray]:
    """Cuts rows, sorted by key, into parts of at most so many, but for a bucket that is larger alone."""
    starts = np.flatnonzero(np.diff(keys[rows], prepend=keys[rows][:1] - 1))
    parts, first = [], 0
    while first < len(rows):
        # The last bucket that begins within the part's size ends it, unless it is the part's only one.
        within = starts[(starts > first) & (starts <= first + most)]
        later = starts[starts > first + most]
        end = (
            len(rows)
            if len(rows) - first <= most
            else int(within[-1] if len(within) else np.append(later, len(rows))[0])
        )
        parts.append(rows[first:end])
        first = end
    return parts


def _following(code: np.ndarray, sizes: Sequence[int], count: int) -> Iterator[np.ndarray]:
    """Yields all tuples after one, `[n, L]` at a time, in numerical order and round again; leading codes stay if the
    tuples of the levels behind them are more than can be numbered."""
    fixed = 0
    while math.prod(sizes[fixed:]) > _LARGEST:
        fixed += 1
    total, own = math.prod(sizes[fixed:]), int(_keys(code[None, fixed:], sizes[fixed:])[0])
    for first in range(1, total, max(count, 4096)):
        numbers = (own + np.arange(first, min(first + max(count, 4096), total))) % total
        tail = np.stack(np.unravel_index(numbers, tuple(sizes[fixed:])), axis=1)
        yield np.concatenate([np.broadcast_to(code[:fixed], (len(tail), fixed)), tail], axis=1).astype(np.int32)


# Tuples that int64 can number.
_LARGEST = 2**62


def _keys(codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Returns `[...]` int64, a number for each tuple `[..., L]`: its place in lexicographic order.

    Where there are more tuples than numbers it is a hash, whose rare collisions make a free tuple look taken.
    """
    levels = np.moveaxis(codes.astype(np.int64), -1, 0)
    if math.prod(sizes) <= _LARGEST:
        return np.ravel_multi_index(tuple(levels), tuple(sizes))
    keys = np.zeros(codes.shape[:-1], np.uint64)
    for level in levels.astype(np.uint64):
        keys = (keys ^ level) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys.view(np.int64)
