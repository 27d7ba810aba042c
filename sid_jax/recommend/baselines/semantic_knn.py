"""The baseline that knows items by their content alone: what is like the user's last items, seen by anybody or not."""

from __future__ import annotations

import numpy as np

from sid_jax.recommend.baselines.popularity import top_items
from sid_jax.recommend.batch import HistoryBatch, history_shares

# How much less an item counts than the one after it. Chosen on the validation of Amazon Beauty, among the last item
# alone, the mean of 3, 5 and all, the nearest of 5 and all, and decays from .3 to .9, of which .5 to .8 are alike.
_DECAY = 0.7


class SemanticKNN:
    """Recommends the items whose vectors have the highest cosine with a mean of the history's, the last counting most.

    TIGER's baseline for unseen items (Rajput et al., 2305.05065, section 4.3).

    Args:
      content: `[N, D]` float32 vectors of length 1.
      among: `[N]` bool, the items that may be recommended; None for all.
    """

    name = "semantic kNN"

    def __init__(self, content: np.ndarray, among: np.ndarray | None = None):
        self._content, self._among = content, among

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the nearest items, `[B, count]` int32, ties to the lowest; -1 where there are no more."""
        weights = np.asarray(history_shares(batch.lengths, batch.items.shape[1], _DECAY))
        asked = np.einsum("bw,bwd->bd", weights, self._content[np.asarray(batch.items)])
        # A mean of vectors of length 1 is no longer than they: what is added makes every score positive, since what
        # scores 0 is not recommended.
        scores = asked @ self._content.T + 2
        return top_items(scores if self._among is None else scores * self._among, count, exclude)
