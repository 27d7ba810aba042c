"""Computes the AUC of each slice of the test ratings over all runs, and paired differences between methods."""

from __future__ import annotations

import dataclasses

import numpy as np

from ranking_study.auc import Draws, auc
from sid_jax.streams import stream_rng

SLICES = ("all", "seen", "cold")


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """The AUC of one method in one slice of the test ratings.

    Attributes:
      runs: `[R]`, the AUC of each run.
      drawn: `[S, R]`, the AUC of each bootstrap sample and run.
    """

    runs: np.ndarray
    drawn: np.ndarray

    @property
    def mean(self) -> float:
        """The mean over the runs."""
        return float(np.nanmean(self.runs))

    def interval(self) -> tuple[float, float]:
        """Returns the ends of the mean's 95 % interval."""
        return _ends(_over_drawn_runs(self.drawn))

    def minus(self, other: Measured) -> tuple[float, float, float]:
        """Returns the difference of the means and the ends of its 95 % interval, paired by run, user and item."""
        low, high = _ends(_over_drawn_runs(self.drawn - other.drawn))
        return self.mean - other.mean, low, high


def measure(
    scores: np.ndarray, liked: np.ndarray, users: np.ndarray, items: np.ndarray, cold: np.ndarray, draws: Draws
) -> dict[str, Measured]:
    """Returns the AUC of one method by slice of the test ratings.

    Args:
      scores: `[R, T]`, the scores of each run.
      liked, users, items: `[T]`, the test ratings: whether the user liked the item, and the rows of user and item.
      cold: `[R, N]` bool, the cold items of each run.
      draws: the bootstrap samples, the same for all methods.

    Returns:
      The AUC by slice. "all" has all test ratings, "seen" those of warm items, and "cold" those of cold items.
    """
    masks = {"all": np.ones((len(scores), len(items)), bool), "seen": ~cold[:, items], "cold": cold[:, items]}
    measured = {}
    for name, of_runs in masks.items():
        parts = [(row[mask], liked[mask], users[mask], items[mask]) for row, mask in zip(scores, of_runs, strict=True)]
        runs = np.array([auc(part[0], part[1])[0] if len(part[0]) else np.nan for part in parts])
        nothing = np.full(len(draws.of_users), np.nan)
        drawn = np.stack([draws.auc(*part) if len(part[0]) else nothing for part in parts], axis=1)
        measured[name] = Measured(runs, drawn)
    return measured


def _over_drawn_runs(values: np.ndarray) -> np.ndarray:
    """Returns the mean of each row of `[S, R]` over resampled runs, `[S]`.

    Arrays of the same shape are averaged over the same resampled runs.
    """
    drawn = stream_rng(0, "runs").integers(values.shape[1], size=values.shape)
    return np.nanmean(np.take_along_axis(values, drawn, axis=1), axis=1)


def _ends(means: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(means, [0.025, 0.975])
    return float(low), float(high)
