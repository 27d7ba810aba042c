"""The baseline that knows no user: what is popular. And lists from scores, as every baseline makes them."""

from __future__ import annotations

import numpy as np

from sid_jax.data.histories import Histories, item_counts
from sid_jax.recommend.batch import HistoryBatch


class Popularity:
    """Recommends what was interacted with most often in training."""

    name = "popularity"

    def __init__(self, train: Histories):
        self._scores = item_counts(train)

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the most popular items, `[B, count]` int32: the same for everybody but for what is excluded."""
        return top_items(np.tile(self._scores, (len(batch.lengths), 1)), count, exclude)


def top_items(scores: np.ndarray, k: int, exclude: np.ndarray | None = None) -> np.ndarray:
    """Returns each row's items with the highest scores, ties to the lowest item.

    Args:
      scores: `[B, N]`; what scores 0 is not recommended. Overwritten where items are excluded.
      k: items in a list.
      exclude: `[B, S]` int32 items not to recommend, -1 for none.

    Returns:
      `[B, k]` int32, the best first, -1 where there are no more.
    """
    if exclude is not None:
        rows, columns = np.nonzero(exclude >= 0)
        scores[rows, exclude[rows, columns]] = 0
    num_items = scores.shape[1]
    size = min(k, num_items)
    # All that tie at the k-th place go on to the sort: a partition alone would keep any of them, not the lowest items.
    least = np.partition(scores, num_items - size, axis=1)[:, num_items - size, None]
    rows, items = np.nonzero((scores >= least) & (scores > 0))
    order = np.lexsort((items, -scores[rows, items], rows))
    rows, items = rows[order], items[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    listed = place < size
    lists = np.full((len(scores), k), -1, np.int32)
    lists[rows[listed], place[listed]] = items[listed]
    return lists
