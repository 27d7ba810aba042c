"""Relocation: makes Semantic IDs of L codes unique by moving items from crowded code tuples to free tuples nearby.

A code tuple has as many *places* as its capacity. A tuple with more items than places is *crowded*, and so are its
items. Items normally keep their first code. Each first code is therefore processed independently, and a catalog of any
size can be processed in parts with the same result. If a first code has more items than places, some of its items move
to other first codes after all other items are placed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from sid_jax.errors import UserError
from sid_jax.ids.matching import deferred_acceptance, first_in_group

# Number of prefixes, over all items, that are processed together, which limits memory for any N.
_PREFIXES_AT_ONCE = 2**21
# If the length of the range of keys is at most this number times the number of keys, distinct keys are found without
# sorting.
_SMALL_RANGE = 8
# Each sorted run of added tuples is more than this number of times as long as the next run (see `Occupancy`).
_RUN_RATIO = 4
# Up to this number of possible tuples, the key of a tuple (`tuple_keys`) is its position in lexicographic order. If
# more tuples are possible, the key contains a hash of the prefix.
_LARGEST = 2**62


class Search(NamedTuple):
    """One round of the search for free tuples.

    Attributes:
      prefixes: number of prefixes of L - 1 codes per item under which free tuples are searched.
      tuples: number of free tuples per item among which the round chooses.
      exact: whether the round compares the tuples by exact cost; otherwise by approximate cost.
    """

    prefixes: int
    tuples: int
    exact: bool = False


# The rounds of the search. A round includes only the items that found no tuple in earlier rounds, since all their
# alternatives were full or went to other items. In catalogs with few collisions, nearly all items find a tuple in the
# first round.
_ROUNDS = (*[Search(16, 2)] * 6, *[Search(32, 2)] * 4)
# This search replaces the first of `_ROUNDS` for a first code with few crowded items. Exact costs take several times as
# long as the search itself, and lower the error most if the nearest alternatives are free.
_EXACT_ROUND = Search(16, 4, exact=True)
# Exact costs are compared if at most this share of a first code's items is crowded.
_FEW_CROWDED = 0.6


class Rows(Protocol):
    """An array indexed by rows: a NumPy array, or a reader that loads rows from disk on demand."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Returns the elements at the row numbers `[M]`."""

    def __len__(self) -> int: ...


# A function that returns, for prefixes `[..., L - 1]`, a mask `[..., K]` bool of the last codes whose tuples are full.
# A tuple is full if it has no place left.
Full = Callable[[np.ndarray], np.ndarray]


class Alternatives(Protocol):
    """Alternative code tuples of items, and their costs."""

    def tuples(
        self, rows: np.ndarray, own: np.ndarray, first_codes: np.ndarray, search: Search, full: Full
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Finds free tuples for the items `rows` `[M]`, whose own tuples are `own` `[M, L]`.

        Returns:
          `[M, C, L]` int32, distinct tuples under the first codes `[M]`, at most `search.tuples` per item; their
          approximate costs, `[M, C]` float32, ascending, infinite for a tuple that is full; and the approximate cost
          of the item's own tuple, `[M]` float32.
        """

    def costs(self, rows: np.ndarray, tuples: np.ndarray) -> np.ndarray:
        """Returns the exact costs `[M, C]` float32 of tuples `[M, C, L]` for the items `rows` `[M]`."""

    def first_codes(self, rows: np.ndarray) -> np.ndarray:
        """Returns the approximate cost of each of the K first codes for the items `rows` `[M]`: `[M, K]` float32."""


def relocate(
    codes: np.ndarray,
    ids: Rows,
    sizes: Sequence[int],
    alternatives: Alternatives,
    *,
    capacity: int = 1,
    taken: np.ndarray | None = None,
) -> np.ndarray:
    """Makes code tuples unique: moves items to tuples near their own until no tuple has more than `capacity` items.

    If at most `capacity` items have a tuple, they keep it. Otherwise, the items whose best free alternative costs most
    keep the tuple, and the other items move to free tuples under the same first code. If several items want the same
    tuple, the item whose next alternative would cost most gets it. If the first code has no place left, the
    remaining items move to another first code. The result depends on the pairs (id, codes) and the alternatives, but
    not on the order of the rows.

    Args:
      codes: `[N, L]` int32.
      ids: `[N]` distinct item ids, all integers or all strings; they break ties.
      sizes: the number of codes K of each level.
      alternatives: finds alternative tuples and their costs.
      capacity: maximum number of items per tuple.
      taken: `[M, L]`, tuples of other items, which do not move; optional.

    Returns:
      `[N, L]` int32.

    Raises:
      UserError: if there are more items than places.
    """
    taken = codes[:0] if taken is None else taken
    refuse_too_many(len(codes) + len(taken), sizes, capacity)
    placing = Placing(codes, ids, sizes, alternatives, capacity, taken)
    leaving = placing.settle()
    if len(leaving):
        staying = np.delete(np.arange(len(codes)), leaving)
        have, had = (np.bincount(each[:, 0], minlength=sizes[0]) for each in (placing.codes[staying], taken))
        free = places_of_first_code(sizes, capacity) - have - had
        placing.admit(leaving, other_first_codes(leaving, ids[leaving], free, alternatives))
    return placing.codes


def refuse_too_many(num_items: int, sizes: Sequence[int], capacity: int) -> None:
    """Raises UserError if there are more items than places (`capacity` for each possible code tuple)."""
    places = capacity * math.prod(sizes)
    if num_items > places:
        raise UserError(
            f"{num_items:,} items are too many for unique Semantic IDs: {len(sizes)} levels of {tuple(sizes)} codes "
            f"have IDs for {places:,} items; train with more codes or levels, or export with --unique=suffix"
        )


def places_of_first_code(sizes: Sequence[int], capacity: int) -> int:
    """Returns the number of places of all code tuples under one first code."""
    return capacity * math.prod(sizes[1:])


def needs_exact_costs(crowded: np.ndarray, num_items: np.ndarray) -> np.ndarray:
    """Returns for each first code whether the relocation of its crowded items compares exact costs, `[K]` bool.

    Args:
      crowded: `[M]`, the first codes of the crowded items.
      num_items: `[K]`, the number of all items with each first code.
    """
    return np.bincount(crowded, minlength=len(num_items)) <= _FEW_CROWDED * num_items


def other_first_codes(rows: np.ndarray, ids: np.ndarray, free: np.ndarray, alternatives: Alternatives) -> np.ndarray:
    """Returns first codes with free places, `[M]` int32, for items that found no place under their own first code.

    Args:
      rows, ids: `[M]` each, the rows of the items in `alternatives`, and the items' ids.
      free: `[K]`, free places under each first code; at least M in total.
      alternatives: gives the cost of each first code.
    """
    free, rank, chosen = free.copy(), _rank(ids), np.empty(len(rows), np.int32)
    at_once = max(1, _PREFIXES_AT_ONCE // len(free))
    by_rank = np.argsort(rank)
    for part in (by_rank[first : first + at_once] for first in range(0, len(rows), at_once)):
        costs = np.where(free > 0, alternatives.first_codes(rows[part]).astype(np.float64), np.inf)
        names = np.broadcast_to(np.arange(len(free)), costs.shape)
        chosen[part] = deferred_acceptance(names, costs, np.broadcast_to(free, costs.shape), rank[part])
        free -= np.bincount(chosen[part], minlength=len(free))
    return chosen


class Placing:
    """The current tuples of the items, as codes and as keys, and the number of items per tuple.

    A `Placing` contains all items of one, several or all first codes. The arguments have the same meaning as in
    `relocate`.
    """

    def __init__(
        self,
        codes: np.ndarray,
        ids: Rows,
        sizes: Sequence[int],
        alternatives: Alternatives,
        capacity: int,
        taken: np.ndarray | None = None,
    ):
        self.codes, self.keys = codes.astype(np.int32), tuple_keys(codes, sizes)
        self._sizes, self._alternatives, self._capacity = tuple(sizes), alternatives, capacity
        self._ids, self._rank = ids, np.zeros(len(ids), np.int64)
        taken = codes[:0] if taken is None else taken
        self._num_items = np.bincount(np.concatenate([codes[:, 0], taken[:, 0]]), minlength=sizes[0])
        self._occupancy = Occupancy(tuple_keys(taken, sizes), capacity)
        names, self._bucket, counts = np.unique(self.keys, return_inverse=True, return_counts=True)
        # For each tuple, the number of its items that may keep it. The occupancy counts `taken` and these items. Any
        # other item is counted when it gets a tuple.
        self._staying = np.minimum(counts, capacity - self._occupancy.count(names))
        self._crowded = counts > self._staying
        self._occupancy.add(names, self._staying)

    def settle(self) -> np.ndarray:
        """Moves each item that cannot keep its tuple to a free tuple; returns the rows of the items that found none."""
        crowded, first_codes = np.flatnonzero(self._crowded[self._bucket]), self.codes[:, 0].copy()
        # Ties between items are broken by their ids. Only the ids of crowded items are read.
        self._rank[crowded] = _rank(self._ids[crowded])
        exact = needs_exact_costs(first_codes[crowded], self._num_items)[first_codes[crowded]]
        left = [
            self._round(rows, first_codes, search, some_stay=True)
            for rows, search in ((crowded[exact], _EXACT_ROUND), (crowded[~exact], _ROUNDS[0]))
        ]
        return self._find_places(np.concatenate(left), first_codes, _ROUNDS[1:])

    def admit(self, rows: np.ndarray, first_codes: np.ndarray) -> None:
        """Moves rows `[M]` to free tuples under the first codes `[M]`, which must have enough free places."""
        wanted = self.codes[:, 0].copy()
        wanted[rows] = first_codes
        self._rank[rows] = _rank(self._ids[rows])
        if len(self._find_places(rows, wanted, _ROUNDS)):
            raise ValueError("there are more items than places under a first code")

    def _find_places(self, rows: np.ndarray, first_codes: np.ndarray, rounds: Sequence[Search]) -> np.ndarray:
        for search in rounds:
            rows = self._round(rows, first_codes, search, some_stay=False)
        return self._fill_up(rows, first_codes[rows]) if len(rows) else rows

    def _round(self, rows: np.ndarray, first_codes: np.ndarray, search: Search, *, some_stay: bool) -> np.ndarray:
        """Moves rows to free tuples, part by part; returns the rows that found none, see `_place`."""
        parts = self._parts(rows, first_codes, _PREFIXES_AT_ONCE // search.prefixes, whole_buckets=some_stay)
        return np.concatenate([rows[:0], *(self._place(part, first_codes[part], search, some_stay) for part in parts)])

    def _place(self, rows: np.ndarray, first_codes: np.ndarray, search: Search, some_stay: bool) -> np.ndarray:
        """Moves rows to free tuples, except rows that keep their tuple; returns the rows that found no free tuple.

        The items that keep a tuple are already counted, so an item's own tuple is full, and never an alternative.
        """
        codes, costs, own_costs = self._alternatives.tuples(rows, self.codes[rows], first_codes, search, self._full)
        costs = costs.astype(np.float64) - own_costs[:, None]
        if some_stay:
            may_stay = self._staying[self._bucket[rows]]
            moving = ~first_in_group(self.keys[rows], costs[:, 0], self._rank[rows], may_stay)
            rows, codes, costs = rows[moving], codes[moving], costs[moving]
        if not len(rows):
            return rows
        if search.exact:
            costs = np.where(np.isfinite(costs), self._alternatives.costs(rows, codes).astype(np.float64), np.inf)
        keys = tuple_keys(codes, self._sizes)
        chosen = deferred_acceptance(keys, costs, self._room(keys), self._rank[rows])
        found = np.flatnonzero(chosen >= 0)
        self._move(rows[found], codes[found, chosen[found]])
        return rows[chosen < 0]

    def _full(self, prefixes: np.ndarray) -> np.ndarray:
        names, where = _numbered(prefix_keys(prefixes, self._sizes))
        taken = self._occupancy.count_under(names, self._sizes[-1]) >= self._capacity
        return taken[where]

    def _parts(
        self, rows: np.ndarray, first_codes: np.ndarray, most: int, *, whole_buckets: bool
    ) -> Iterator[np.ndarray]:
        """Splits rows into parts of at most `most` rows.

        With `whole_buckets`, the items of a tuple stay together, even if their part then has more rows.

        A part contains either all rows of some first codes or some rows of a single first code. The result for a first
        code therefore does not depend on the other first codes.
        """
        order = rows[np.lexsort((self._rank[rows], self.keys[rows], first_codes[rows]))]
        for part in _joined(_runs(order, first_codes[order]), most):
            if len(part) <= most:
                yield part
            elif whole_buckets:
                yield from _joined(_runs(part, self.keys[part]), most)
            else:
                yield from (part[first : first + most] for first in range(0, len(part), most))

    def _fill_up(self, rows: np.ndarray, first_codes: np.ndarray) -> np.ndarray:
        """Gives rows the next free tuples after their own, in cyclic lexicographic order within the first code.

        This is needed if a tuple has more items than the rounds of the search have alternatives. Returns the rows whose
        first code is full.
        """
        wanted = self.codes[rows]
        wanted[:, 0] = first_codes
        order = np.lexsort((self._rank[rows], self.keys[rows], first_codes))
        # Items with equal tuples are handled together, so that the places that they fill are not searched again.
        left = [np.empty(0, np.intp)]
        for bucket in _runs(order, tuple_keys(wanted[order], self._sizes)):
            found = [np.empty((0, len(self._sizes)), np.int32)]
            for codes in _following(wanted[bucket[0]], self._sizes, len(bucket)):
                found.append(np.repeat(codes, np.maximum(self._room(tuple_keys(codes, self._sizes)), 0), axis=0))
                if sum(map(len, found)) >= len(bucket):
                    break
            places = np.concatenate(found)[: len(bucket)]
            self._move(rows[bucket[: len(places)]], places)
            left.append(rows[bucket[len(places) :]])
        return np.concatenate(left)

    def _room(self, keys: np.ndarray) -> np.ndarray:
        return self._capacity - self._occupancy.count(keys)

    def _move(self, rows: np.ndarray, codes: np.ndarray) -> None:
        self.codes[rows], self.keys[rows] = codes, tuple_keys(codes, self._sizes)
        self._occupancy.add(self.keys[rows])


def _numbered(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct keys in ascending order, and each key's position among them, in the shape of `keys`.

    Keys in a small range, such as those of prefixes with the same first code, are not sorted.
    """
    first = keys.min()
    span = int(keys.max() - first) + 1
    if span > _SMALL_RANGE * keys.size:
        names, where = np.unique(keys, return_inverse=True)
        return names, where.reshape(keys.shape)
    there = np.zeros(span, bool)
    there[keys - first] = True
    return np.flatnonzero(there) + first, (np.cumsum(there) - 1)[keys - first]


def _rank(ids: np.ndarray) -> np.ndarray:
    rank = np.empty(len(ids), np.int64)
    # Python sorts a list of strings twice as fast as NumPy sorts an array of strings.
    rank[sorted(range(len(ids)), key=ids.tolist().__getitem__)] = np.arange(len(ids))
    return rank


def _runs(values: np.ndarray, names: np.ndarray) -> list[np.ndarray]:
    """Splits `values` into runs of equal `names`."""
    return np.split(values, np.flatnonzero(names[1:] != names[:-1]) + 1) if len(values) else []


def _joined(runs: list[np.ndarray], most: int) -> Iterator[np.ndarray]:
    """Joins consecutive runs into parts of at most `most` values; a larger run becomes one part."""
    part: list[np.ndarray] = []
    for run in runs:
        if part and sum(map(len, part)) + len(run) > most:
            yield np.concatenate(part)
            part = []
        part.append(run)
    if part:
        yield np.concatenate(part)


def _following(code: np.ndarray, sizes: Sequence[int], count: int) -> Iterator[np.ndarray]:
    """Yields a tuple and all other tuples under its first code, in blocks `[n, L]`, in cyclic lexicographic order.

    All codes except the first one vary. If there are too many tuples for int64 numbers, only the last codes vary.
    """
    fixed = 1
    while math.prod(sizes[fixed:]) > _LARGEST:
        fixed += 1
    total = math.prod(sizes[fixed:])
    own = int(tuple_keys(code[None, fixed:], sizes[fixed:])[0]) if fixed < len(sizes) else 0
    for first in range(0, total, max(count, 4096)):
        numbers = (own + np.arange(first, min(first + max(count, 4096), total))) % total
        codes = np.repeat(code[None], len(numbers), axis=0)
        if fixed < len(sizes):
            codes[:, fixed:] = np.stack(np.unravel_index(numbers, tuple(sizes[fixed:])), axis=1)
        yield codes


def tuple_keys(codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Returns a key for each tuple `[..., L]`: `[...]` int64, its position in lexicographic order.

    If there are too many tuples for int64, the prefix is represented by a hash. In the rare case that two prefixes have
    the same hash, a free tuple appears occupied. With or without a hash, the key of a tuple is the key of its prefix
    times the number of codes of the last level, plus the last code.
    """
    return prefix_keys(codes[..., :-1], sizes) * sizes[-1] + codes[..., -1]


def prefix_keys(prefixes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Returns a key for each prefix `[..., L - 1]`: `[...]` int64. `sizes` has the numbers of codes of all L levels."""
    keys = np.zeros(prefixes.shape[:-1], np.uint64)
    levels = np.moveaxis(prefixes, -1, 0).astype(np.uint64)
    if math.prod(sizes) <= _LARGEST:
        for level, size in zip(levels, sizes[:-1], strict=True):
            keys = keys * np.uint64(size) + level
        return keys.view(np.int64)
    for level in levels:
        keys = (keys ^ level) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return (keys % np.uint64(_LARGEST // sizes[-1])).view(np.int64)


class Occupancy:
    """Counts the items of each tuple, by the keys `[M]` of the items' tuples. Initial counts are limited to `capacity`.

    The initial keys are sorted once. Added keys are kept in sorted runs, each several times as long as the next, so
    that many small additions take little more time than one large addition.
    """

    def __init__(self, keys: np.ndarray, capacity: int | None = None):
        names, counts = np.unique(keys, return_counts=True)
        self._known = names, counts if capacity is None else np.minimum(counts, capacity)
        self._added: list[tuple[np.ndarray, np.ndarray]] = []

    def count(self, keys: np.ndarray) -> np.ndarray:
        """Returns the number of items of the tuples with these keys, in the shape of `keys`."""
        found = _look_up(*self._known, keys)
        for run in self._added:
            found = found + _look_up(*run, keys)
        return found

    def count_under(self, prefixes: np.ndarray, size: int) -> np.ndarray:
        """Returns the number of items of each tuple under the given prefixes, `[M, size]` int32.

        Args:
          prefixes: `[M]`, keys of the prefixes, see `prefix_keys`.
          size: number of codes of the last level.
        """
        counts = np.zeros((len(prefixes), size), np.int32)
        for names, numbers in (self._known, *self._added):
            first, end = np.searchsorted(names, [prefixes * size, (prefixes + 1) * size])
            lengths = end - first
            rows = np.repeat(np.arange(len(prefixes)), lengths)
            found = np.arange(len(rows)) + np.repeat(first - np.cumsum(lengths) + lengths, lengths)
            counts[rows, names[found] % size] += numbers[found].astype(np.int32)
        return counts

    def add(self, keys: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Adds `counts` `[M]` items to the tuples with these keys `[M]`; by default, one item to each tuple."""
        run = _summed(keys, np.ones(len(keys), np.int64) if counts is None else counts)
        while self._added and len(self._added[-1][0]) <= _RUN_RATIO * len(run[0]):
            names, earlier = self._added.pop()
            run = _summed(np.concatenate([names, run[0]]), np.concatenate([earlier, run[1]]))
        self._added.append(run)


def _summed(names: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct names in ascending order, and the sum of the counts of each name."""
    distinct, where = np.unique(names, return_inverse=True)
    return distinct, np.bincount(where, counts, len(distinct)).astype(np.int64)


def _look_up(names: np.ndarray, counts: np.ndarray, keys: np.ndarray) -> np.ndarray:
    if not len(names):
        return np.zeros(keys.shape, np.int64)
    place = np.minimum(np.searchsorted(names, keys), len(names) - 1)
    return np.where(names[place] == keys, counts[place], 0)
