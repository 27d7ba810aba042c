"""Does a figure of ID tables rank them as a recommender does? Rank correlations, and how far they can be trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata


@dataclasses.dataclass(frozen=True, eq=False)
class RankCorrelations:
    """Of M figures with one outcome, over T tables.

    Attributes:
      spearman, kendall: `[M]`; of Kendall's tau the form for ties, b. 0 for a figure that is the same for all tables.
      spearman_draws, kendall_draws: `[samples, M]`, the same of data drawn anew, as `rank_correlations` says. All M are
        of the same draws, so that differences between figures have draws too.
    """

    spearman: np.ndarray
    kendall: np.ndarray
    spearman_draws: np.ndarray
    kendall_draws: np.ndarray


def rank_correlations(
    figures: np.ndarray, outcomes: Sequence[np.ndarray], *, seed: int = 0, samples: int = 1000
) -> RankCorrelations:
    """Returns how well each figure ranks ID tables as the recommender's outcomes do.

    Each sample draws tables, users and, of each table, seeds anew, with replacement: the spread is that of "other
    tables, other users, another training". An outcome has noise as it stands, and each sample adds as much again, so
    that intervals of noisy outcomes lie nearer to 0 than they should, never further from it.

    Args:
      figures: `[M, T]`.
      outcomes: T arrays `[S, U]`, a metric for each training seed and user; S may differ, the users are the same.
      seed: the same seed gives the same draws.
      samples: how many.

    Raises:
      ValueError: if there are fewer than two tables, or the shapes do not fit.
    """
    num_users = {each.shape[1] for each in outcomes}
    if figures.ndim != 2 or figures.shape[1] != len(outcomes) or len(outcomes) < 2 or len(num_users) != 1:
        raise ValueError(f"figures are {figures.shape}, of {len(outcomes)} tables with {sorted(num_users)} users")
    random = np.random.default_rng(seed)
    means = np.array([each.mean() for each in outcomes])
    drawn = _drawn_means(outcomes, random, samples)
    tables = random.integers(len(outcomes), size=drawn.shape)
    drawn = np.take_along_axis(drawn, tables, axis=1)
    spearman = [_spearman(figures[:, chosen], mean) for chosen, mean in zip(tables, drawn, strict=True)]
    kendall = [_kendall(figures[:, chosen], mean) for chosen, mean in zip(tables, drawn, strict=True)]
    return RankCorrelations(_spearman(figures, means), _kendall(figures, means), np.stack(spearman), np.stack(kendall))


def reliability(outcomes: Sequence[np.ndarray], *, seed: int = 0, samples: int = 200) -> float:
    """Returns Spearman's correlation of the tables' outcomes with the same measured again, from other users and seeds.

    It is the mean over random halves of the users, brought to all of them (Spearman and Brown, 1910: 2 r / (1 + r)).
    Its root is about the most that any figure of the tables can correlate with these outcomes. Of tables with several
    seeds each half also has its own, so that luck in training counts as noise too; it is then rather too low, since a
    half has half the seeds. With one seed it is too high.

    Args:
      outcomes: T arrays `[S, U]`.
      seed: the same seed gives the same halves.
      samples: how many divisions.
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
    """Returns `[samples, T]`: each table's mean over users and seeds drawn anew, the users the same for all tables."""
    num_users = outcomes[0].shape[1]
    times = random.multinomial(num_users, np.full(num_users, 1 / num_users), size=samples)
    columns = []
    for outcome in outcomes:
        of_seeds = times @ outcome.T / num_users
        seeds = random.integers(len(outcome), size=of_seeds.shape)
        columns.append(np.take_along_axis(of_seeds, seeds, axis=1).mean(axis=1))
    return np.stack(columns, axis=1)


def _spearman(figures: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Returns `[M]` from figures `[M, T]` and means `[T]`: Pearson's correlation of the ranks, ties at their middle."""
    ranks, mean_ranks = rankdata(figures, axis=1), rankdata(means)
    middle = (len(means) + 1) / 2
    return _cosine(ranks - middle, mean_ranks - middle)


def _kendall(figures: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Returns tau-b `[M]`: over all pairs of tables, whether both are in the same order (Kendall, 1945)."""
    pairs = np.triu_indices(len(means), 1)
    signs = np.sign(figures[:, pairs[0]] - figures[:, pairs[1]])
    return _cosine(signs, np.sign(means[pairs[0]] - means[pairs[1]]))


def _cosine(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(vector)
    return np.divide(rows @ vector, lengths, out=np.zeros(len(rows)), where=lengths > 0)
