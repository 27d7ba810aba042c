"""Look-ups between items and Semantic IDs, both ways and by prefix."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from sid_jax.errors import UserError

# A Semantic ID or a prefix of one: numbers, or text such as "12-4-91-0".
Codes = Sequence[int] | np.ndarray | str


class Table:
    """N items and their Semantic IDs.

    IDs and prefixes are given as numbers, `(12, 4, 91, 0)`, or as text, "12-4-91-0". What is well-formed but not in the
    table is a `KeyError`, as in a dict; what could never be an ID or a prefix of this table is a `UserError`.

    Attributes:
      ids: `[N]` item ids, int64 or object (str).
      semantic_ids: `[N, L]` int32, row for row with `ids`.
    """

    def __init__(self, ids: np.ndarray, semantic_ids: np.ndarray, *, shared: bool = False):
        """Takes `[N]` item ids and `[N, L]` Semantic IDs, which several items may have if they are shared.

        Raises:
          ValueError: if the shapes do not fit.
          UserError: if two items have the same id, or the same Semantic ID though these are not shared.
        """
        if semantic_ids.ndim != 2 or ids.shape != semantic_ids.shape[:1]:
            raise ValueError(f"ids must be [N] and semantic_ids [N, L], not {ids.shape} and {semantic_ids.shape}")
        self.ids = ids
        self.semantic_ids = semantic_ids
        self._row_of = {item: row for row, item in enumerate(ids.tolist())}
        self._refuse_repeated_items()
        self._order = np.lexsort(semantic_ids.T[::-1])
        # Level by level, so that what lies under a prefix is, in the level after it, one sorted run of memory.
        self._sorted = np.ascontiguousarray(semantic_ids[self._order].T)
        if not shared:
            self._refuse_shared_semantic_ids()

    def __len__(self) -> int:
        """Returns N."""
        return len(self.ids)

    def semantic_id(self, item: int | str) -> tuple[int, ...]:
        """Returns the Semantic ID of an item: L numbers.

        Raises:
          KeyError: if there is no such item.
        """
        row = self._row_of.get(item)
        if row is None:
            raise KeyError(f"no item has the id {item!r} (ids of this table are like {self._example_item()!r})")
        return tuple(self.semantic_ids[row].tolist())

    def item(self, semantic_id: Codes) -> int | str:
        """Returns the id of the item that has this Semantic ID.

        Raises:
          KeyError: if no item has it.
          UserError: if it is not L numbers, or several items share it: `items` returns them.
        """
        wanted = _numbers(semantic_id)
        levels = len(self._sorted)
        if len(wanted) != levels:
            raise UserError(
                f"{sid_text([wanted])[0]!r} has {len(wanted)} codes; a Semantic ID of this table has {levels}"
            )
        first, end = self._run(wanted)
        if first == end:
            raise KeyError(f"no item has the Semantic ID {sid_text([wanted])[0]}")
        if end - first > 1:
            raise UserError(f"{end - first} items share the Semantic ID {sid_text([wanted])[0]}; items() returns them")
        return self.ids[self._order[first : first + 1]].tolist()[0]

    def items(self, prefix: Codes) -> np.ndarray:
        """Returns the ids of the items whose Semantic ID begins with a prefix, in the order of their Semantic IDs.

        Args:
          prefix: at most L numbers; none at all is the prefix of every item.

        Returns:
          `[n]`, of the type of `ids`; empty if there are none.

        Raises:
          UserError: if the prefix is not numbers, or more than L of them.
        """
        wanted = _numbers(prefix)
        levels = len(self._sorted)
        if len(wanted) > levels:
            raise UserError(
                f"{sid_text([wanted])[0]!r} has {len(wanted)} codes; a Semantic ID of this table has {levels}"
            )
        first, end = self._run(wanted)
        return self.ids[self._order[first:end]]

    def neighbors(self, item: int | str, count: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Returns the items that share the longest prefixes with an item: those first whose first codes are its own.

        Items that share equally many codes come in the order of their Semantic IDs, and those of one ID in the order of
        the table's rows. Codes are names: which of two other codes is the nearer one they do not say.

        Args:
          item: an id.
          count: at most so many; fewer if fewer items have the first code.

        Returns:
          `[n]` ids, of the type of `ids`, and `[n]` int64: how many codes each shares, L down to 1.

        Raises:
          KeyError: if there is no such item.
        """
        own, row = self.semantic_id(item), self._row_of[item]
        found, shared = [np.empty(0, np.intp)], [np.empty(0, np.int64)]
        # Where the items that share more codes begin and end: none yet.
        begin, end = [self._run(own)[0]] * 2
        for depth in range(len(own), 0, -1):
            first, last = self._run(own[:depth])
            wanted = count - sum(map(len, found))
            # One more on either side than is wanted, since the item itself is among them and is left out.
            sides = ((low, min(high, low + wanted + 1)) for low, high in ((first, begin), (end, last)))
            rows = np.concatenate([self._order[low:high] for low, high in sides])
            found.append(rows[rows != row][:wanted])
            shared.append(np.full(len(found[-1]), depth))
            begin, end = first, last
        return self.ids[np.concatenate(found)], np.concatenate(shared)

    def _run(self, prefix: tuple[int, ...]) -> tuple[int, int]:
        """Returns where in the sorted order the items under a prefix begin and end."""
        first, end = 0, len(self)
        for level, code in zip(self._sorted, prefix, strict=False):
            first, end = bisect_left(level, code, first, end), bisect_right(level, code, first, end)
        return first, end

    def _example_item(self) -> int | str | None:
        return next(iter(self._row_of), None)

    def _refuse_repeated_items(self) -> None:
        for row, item in enumerate(self.ids.tolist() if len(self._row_of) < len(self) else ()):
            if self._row_of[item] != row:
                last = self._row_of[item]
                raise UserError(f"rows {row} and {last} have the same id {item!r}: each item needs an id of its own")

    def _refuse_shared_semantic_ids(self) -> None:
        shared = np.flatnonzero((self._sorted[:, 1:] == self._sorted[:, :-1]).all(axis=0))
        if len(shared):
            one, other = self.ids[self._order[shared[0] : shared[0] + 2]].tolist()
            text = sid_text(self._sorted[:, shared[:1]].T)[0]
            raise UserError(f"items {one!r} and {other!r} have the same Semantic ID {text}: make the IDs unique first")


def sid_text(semantic_ids: np.ndarray | Sequence[Sequence[int]]) -> np.ndarray:
    """Writes Semantic IDs `[N, L]` as text, "12-4-91-0": `[N]` object (str), which cuts nothing short."""
    rows = semantic_ids.tolist() if isinstance(semantic_ids, np.ndarray) else semantic_ids
    return np.array(["-".join(map(str, row)) for row in rows], dtype=object)


def parse_sid(text: str) -> tuple[int, ...]:
    """Reads what `sid_text` writes; an empty text is the empty prefix.

    Raises:
      UserError: if it is not numbers with hyphens between them.
    """
    parts = text.split("-") if text else []
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(f"{text!r} is not a Semantic ID: write numbers with hyphens between them, as in 12-4-91")
    return tuple(map(int, parts))


def _numbers(semantic_id: Codes) -> tuple[int, ...]:
    return parse_sid(semantic_id) if isinstance(semantic_id, str) else tuple(map(int, semantic_id))
