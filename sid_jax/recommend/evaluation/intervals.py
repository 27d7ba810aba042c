"""How far a mean over users can be trusted: bootstrap intervals (Efron, 1979; percentile method)."""

from __future__ import annotations

import numpy as np

# Draws held in memory at once: some tens of megabytes.
_DRAWS = 2_000_000


def bootstrap_interval(
    values: np.ndarray, *, seed: int = 0, samples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Returns the interval of the mean over users.

    Args:
      values: `[U]`, a metric for each user.
      seed: the same seed gives the same interval.
      samples: how often the users are drawn anew, with replacement.
      level: the share of resampled means inside the interval.
    """
    return _percentiles(_resampled_means(values[None], np.random.default_rng(seed), samples)[:, 0], level)


def mean_interval(
    values: np.ndarray, *, seed: int = 0, samples: int = 1000, level: float = 0.95
) -> tuple[float, float, float]:
    """Returns the mean of one recommender over its seeds and users, and the interval's two ends.

    Users and seeds are both drawn anew: the interval is of "another training, asked by other users". The users drawn
    are the same for every seed, as they were in the experiment. Few seeds show less than their whole spread (of the
    variance, (S - 1) / S), and one seed shows none.

    Args:
      values: `[S, U]`, a metric for each training seed and user.
      seed, samples, level: as for `bootstrap_interval`.
    """
    random = np.random.default_rng(seed)
    means = _over_drawn_seeds(_resampled_means(values, random, samples), random)
    return float(values.mean()), *_percentiles(means, level)


def paired_difference(
    a: np.ndarray, b: np.ndarray, *, seed: int = 0, samples: int = 1000, level: float = 0.95
) -> tuple[float, float, float]:
    """Returns the mean of `a` minus the mean of `b`, and the interval's two ends, from the same users.

    A user who is hard for one recommender is mostly hard for the other: each sample draws one set of users for both.
    Seeds are drawn for each on its own, because two trainings have nothing in common for having the same seed. See
    `mean_interval` for what few seeds can show.

    Args:
      a, b: `[S, U]`, a metric for each training seed and user; the S may differ.
      seed, samples, level: as for `bootstrap_interval`.

    Raises:
      ValueError: if the users differ in number.
    """
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"both must be [S, U] with the same users, not {list(a.shape)} and {list(b.shape)}")
    random = np.random.default_rng(seed)
    means = _resampled_means(np.concatenate([a, b]), random, samples)
    differences = _over_drawn_seeds(means[:, : len(a)], random) - _over_drawn_seeds(means[:, len(a) :], random)
    return float(a.mean() - b.mean()), *_percentiles(differences, level)


def _resampled_means(values: np.ndarray, random: np.random.Generator, samples: int) -> np.ndarray:
    """Returns `[samples, S]`: the mean of each row of `[S, U]` over users drawn anew, the same for all rows."""
    num_users = values.shape[1]
    at_once = max(1, _DRAWS // num_users)
    blocks = []
    for start in range(0, samples, at_once):
        users = random.integers(num_users, size=(min(at_once, samples - start), num_users), dtype=np.int32)
        blocks.append(np.stack([row[users].mean(axis=1) for row in values], axis=1))
    return np.concatenate(blocks)


def _over_drawn_seeds(means: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns `[samples]`: the mean of each row of `[samples, S]` over seeds drawn anew."""
    drawn = random.integers(means.shape[1], size=means.shape)
    return np.take_along_axis(means, drawn, axis=1).mean(axis=1)


def _percentiles(means: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
