"""The chance that a like is ranked above what is not liked, and how far that can be trusted."""

from __future__ import annotations

import dataclasses

import numpy as np

from sid_jax.streams import stream_rng

# Numbers held in memory at once: some tens of megabytes.
_NUMBERS = 2_000_000


def auc(scores: np.ndarray, liked: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns the area under the ROC curve for each of S weightings; ties count half.

    Args:
      scores: `[n]`.
      liked: `[n]` bool.
      weights: `[S, n]`, how often each rating counts; None for once.

    Returns:
      `[S]` float64 (`[1]` without weights), NaN where there are no likes or nothing else.
    """
    order = np.argsort(scores, kind="stable")
    weights = np.ones((1, len(scores))) if weights is None else weights[:, order]
    ordered = scores[order]
    # Where each run of equal scores begins.
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))[: len(scores)]
    positive = np.add.reduceat(weights * liked[order], starts, axis=1)
    negative = np.add.reduceat(weights, starts, axis=1) - positive
    below = np.cumsum(negative, axis=1) - negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    won = (positive * (below + negative / 2)).sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Draws:
    """Users and items drawn with replacement, S times: what a test might have been (Owen, 2007, 0712.1111).

    A rating counts as often as its user was drawn, times its item. So a user's ratings go together, and an item's: many
    ratings of few items say less of items than as many of different ones.

    Attributes:
      of_users: `[S, U]` how often each was drawn.
      of_items: `[S, N]`.
    """

    of_users: np.ndarray
    of_items: np.ndarray

    @classmethod
    def of(cls, num_users: int, num_items: int, samples: int, seed: int = 0) -> Draws:
        """Draws them; the same arguments give the same draws."""
        counts = [
            stream_rng(seed, name).multinomial(size, np.full(size, 1 / size), samples).astype(np.uint16)
            for name, size in (("users", num_users), ("items", num_items))
        ]
        return cls(*counts)

    def auc(self, scores: np.ndarray, liked: np.ndarray, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Returns the AUC of each draw, `[S]`, of `[n]` ratings with the rows of their users and items."""
        at_once = max(1, _NUMBERS // len(scores))
        found = []
        for start in range(0, len(self.of_users), at_once):
            drawn = slice(start, start + at_once)
            weights = self.of_users[drawn][:, users].astype(np.float64) * self.of_items[drawn][:, items]
            found.append(auc(scores, liked, weights))
        return np.concatenate(found)
