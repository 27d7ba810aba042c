"""Computes AUC, the probability that a liked item is ranked above one that is not, also for bootstrap samples."""

from __future__ import annotations

import dataclasses

import numpy as np

from sid_jax.streams import stream_rng

# Maximum number of weights in memory at once, which limits memory to tens of megabytes.
_NUMBERS = 2_000_000


def auc(scores: np.ndarray, liked: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns the area under the ROC curve for each of S weightings; ties count half.

    Args:
      scores: `[n]`.
      liked: `[n]` bool.
      weights: `[S, n]`, the weight of each rating; None for 1.

    Returns:
      `[S]` float64 (`[1]` without weights), NaN if all ratings are likes, or none are.
    """
    order = np.argsort(scores, kind="stable")
    weights = np.ones((1, len(scores))) if weights is None else weights[:, order]
    ordered = scores[order]
    # Start of each run of equal scores.
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))[: len(scores)]
    positive = np.add.reduceat(weights * liked[order], starts, axis=1)
    negative = np.add.reduceat(weights, starts, axis=1) - positive
    below = np.cumsum(negative, axis=1) - negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    won = (positive * (below + negative / 2)).sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Draws:
    """S bootstrap samples of users and items (Owen, 2007, 0712.1111).

    The weight of a rating is how often its user was drawn, times how often its item was drawn. So all ratings of a
    user, and all ratings of an item, are resampled together. This is necessary because many ratings of a few items are
    weaker evidence than the same number of ratings of many items.

    Attributes:
      of_users: `[S, U]`, how often each user was drawn.
      of_items: `[S, N]`, how often each item was drawn.
    """

    of_users: np.ndarray
    of_items: np.ndarray

    @classmethod
    def of(cls, num_users: int, num_items: int, samples: int, seed: int = 0) -> Draws:
        """Draws the samples; the same arguments give the same samples."""
        counts = [
            stream_rng(seed, name).multinomial(size, np.full(size, 1 / size), samples).astype(np.uint16)
            for name, size in (("users", num_users), ("items", num_items))
        ]
        return cls(*counts)

    def auc(self, scores: np.ndarray, liked: np.ndarray, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Returns the AUC of n ratings in each sample, `[S]`; `users` and `items` are row indices, `[n]`."""
        at_once = max(1, _NUMBERS // len(scores))
        found = []
        for start in range(0, len(self.of_users), at_once):
            drawn = slice(start, start + at_once)
            weights = self.of_users[drawn][:, users].astype(np.float64) * self.of_items[drawn][:, items]
            found.append(auc(scores, liked, weights))
        return np.concatenate(found)
