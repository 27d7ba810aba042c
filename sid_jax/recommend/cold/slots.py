"""TIGER's rule: a share of a list's places is for items that nobody has seen (Rajput et al., 2305.05065, sec. 4.3)."""

from __future__ import annotations

import numpy as np

from sid_jax.recommend.batch import HistoryBatch, Ranker
from sid_jax.recommend.config import PLACES


def with_cold(known: np.ndarray, unseen: np.ndarray, count: int, slots: int, places: int = PLACES) -> np.ndarray:
    """Returns lists in which of every `places` places the last `slots` are for unseen items, and the others for known.

    Where there are too few of one kind, those that follow move up: up to `slots` of the first `places` are unseen
    unless there are too few known items.

    Args:
      known: `[B, M]` int32, the best first, -1 for none.
      unseen: `[B, n]` int32, the same.
      count: k.
      slots: from 0 to `places`.
      places: 1 or more.

    Returns:
      `[B, k]` int32; -1 where there are no more.
    """
    together = np.concatenate([known, unseen], axis=1)
    place = np.concatenate(
        [
            _places(known.shape[1], 0, places - slots, places),
            _places(unseen.shape[1], places - slots, slots, places),
        ]
    )
    order = np.argsort(np.where(together < 0, np.iinfo(np.int64).max, place), axis=1, kind="stable")
    lists = np.take_along_axis(together, order, axis=1)[:, :count].astype(np.int32)
    return np.pad(lists, ((0, 0), (0, count - lists.shape[1])), constant_values=-1)


class SlotRanker:
    """Lists of known items in which some places are for unseen ones.

    Args:
      name: for tables.
      known: recommends known items.
      unseen: recommends unseen items.
      slots: of every `places` places, those for unseen items.
      places: 1 or more.
    """

    def __init__(self, name: str, known: Ranker, unseen: Ranker, slots: int, places: int = PLACES):
        self.name = name
        self._known, self._unseen, self._slots, self._places = known, unseen, slots, places

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the best items for each history, `[B, count]` int32; -1 where there are no more."""
        known = self._known.recommend(batch, count, exclude)
        unseen = self._unseen.recommend(batch, -(-count // self._places) * self._slots, exclude)
        return with_cold(known, unseen, count, self._slots, self._places)


def _places(number: int, first: int, width: int, places: int) -> np.ndarray:
    """Returns `[number]` int64: where each item of a kind stands, which has `width` of every so many places."""
    if not width:
        # After everything that has a place.
        return np.arange(number) + np.iinfo(np.int32).max
    nth = np.arange(number)
    return nth // width * places + first + nth % width
