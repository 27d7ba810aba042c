"""Rank correlations of metrics of ID tables with a recommender's results, and the reliability of these results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata


@dataclasses.dataclass(frozen=True, eq=False)
class RankCorrelations:
    """Rank correlations of M metrics with one outcome over T tables.

    Attributes:
      spearman, kendall: `[M]`, Spearman's rho and Kendall's tau-b; 0 for a metric that is equal for all tables.
      spearman_draws, kendall_draws: `[samples, M]`, the correlations on bootstrap samples (see `rank_correlations`).
        All M metrics use the same samples, so metrics can be compared sample by sample.
    """

    spearman: np.ndarray
    kendall: np.ndarray
    spearman_draws: np.ndarray
    kendall_draws: np.ndarray


def rank_correlations(
    figures: np.ndarray, outcomes: Sequence[np.ndarray], *, seed: int = 0, samples: int = 1000
) -> RankCorrelations:
    """Returns the rank correlations of metrics of ID tables with a recommender's results for these tables.

    For each bootstrap sample, tables, users and each table's seeds are drawn with replacement. Confidence intervals
    from these samples are therefore valid for new tables, new users and new training runs. Outcomes are noisy, and
    resampling adds the same noise again, which lowers the correlations. The intervals are thus biased toward 0, never
    away from it.

    Args:
      figures: `[M, T]`, the metrics of the ID tables.
      outcomes: T arrays `[S, U]`, the recommender's result for each training seed and user; tables may differ in S, but
        not in users.
      seed: the same seed gives the same samples.
      samples: number of bootstrap samples.

    Raises:
      ValueError: if there are fewer than two tables, or the shapes do not match.
    """
    num_users = {each.shape[1] for each in outcomes}
    if figures.ndim != 2 or figures.shape[1] != len(outcomes) or len(outcomes) < 2 or len(num_users) != 1:
        raise ValueError(
            f"figures have shape {figures.shape}, and the {len(outcomes)} outcomes have {sorted(num_users)} users; "
            "give figures [M, T] and the outcomes of T >= 2 tables with the same number of users"
        )
    random = np.random.default_rng(seed)
    means = np.array([each.mean() for each in outcomes])
    drawn = _drawn_means(outcomes, random, samples)
    tables = random.integers(len(outcomes), size=drawn.shape)
    drawn = np.take_along_axis(drawn, tables, axis=1)
    spearman = [_spearman(figures[:, chosen], mean) for chosen, mean in zip(tables, drawn, strict=True)]
    kendall = [_kendall(figures[:, chosen], mean) for chosen, mean in zip(tables, drawn, strict=True)]
    return RankCorrelations(_spearman(figures, means), _kendall(figures, means), np.stack(spearman), np.stack(kendall))


def reliability(outcomes: Sequence[np.ndarray], *, seed: int = 0, samples: int = 200) -> float:
    """Returns the split-half reliability: how well the outcomes would correlate with the outcomes of a repeated study.

    The users are divided at random into halves. Spearman's correlation of the outcomes of the two halves is averaged
    over many divisions. The mean r is corrected from half of the users to all users: 2 r / (1 + r) (Spearman and Brown,
    1910). The square root of the reliability is about the maximum correlation of any metric with these outcomes.

    For tables with several seeds, each half has its own seeds, so the variance of training counts as noise too. The
    estimate is then slightly too low, since a half has only half of the seeds. For tables with one seed, both halves
    have this seed, and the estimate is too high.

    Args:
      outcomes: T arrays `[S, U]`.
      seed: the same seed gives the same halves.
      samples: number of random divisions into halves.
    """
    random = np.random.default_rng(seed)
    num_users, found = outcomes[0].shape[1], []
    for _ in range(samples):
        users = random.permutation(num_users)
        halves = [_half_means(outcome, users, random) for outcome in outcomes]
        one, other = np.array(halves).T
        found.append(float(_spearman(one[None], other)[0]))
    mean = float(np.mean(found))
    return 2 * mean / (1 + mean)


def _half_means(outcome: np.ndarray, users: np.ndarray, random: np.random.Generator) -> tuple[float, float]:
    seeds, half = random.permutation(len(outcome)), len(users) // 2
    middle = len(seeds) // 2
    first, second = (seeds[:middle], seeds[middle:]) if middle else (seeds, seeds)
    return float(outcome[first][:, users[:half]].mean()), float(outcome[second][:, users[half:]].mean())


def _drawn_means(outcomes: Sequence[np.ndarray], random: np.random.Generator, samples: int) -> np.ndarray:
    """Returns `[samples, T]`: each table's mean over resampled users and seeds, with the same users for all tables."""
    num_users = outcomes[0].shape[1]
    times = random.multinomial(num_users, np.full(num_users, 1 / num_users), size=samples)
    columns = []
    for outcome in outcomes:
        of_seeds = times @ outcome.T / num_users
        seeds = random.integers(len(outcome), size=of_seeds.shape)
        columns.append(np.take_along_axis(of_seeds, seeds, axis=1).mean(axis=1))
    return np.stack(columns, axis=1)


def _spearman(figures: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Returns Spearman's rho `[M]` of figures `[M, T]` with means `[T]`; ties have their mean rank."""
    ranks, mean_ranks = rankdata(figures, axis=1), rankdata(means)
    middle = (len(means) + 1) / 2
    return _cosine(ranks - middle, mean_ranks - middle)


def _kendall(figures: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Returns Kendall's tau-b `[M]`, over all pairs of tables (Kendall, 1945)."""
    pairs = np.triu_indices(len(means), 1)
    signs = np.sign(figures[:, pairs[0]] - figures[:, pairs[1]])
    return _cosine(signs, np.sign(means[pairs[0]] - means[pairs[1]]))


def _cosine(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(vector)
    return np.divide(rows @ vector, lengths, out=np.zeros(len(rows)), where=lengths > 0)
