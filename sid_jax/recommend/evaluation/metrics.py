"""Metrics of recommendation lists over the whole catalog, and bootstrap intervals (Efron, 1979)."""

from __future__ import annotations

import numpy as np

# The largest k of the metrics in a summary.
_LONGEST = 10


def ranks(lists: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns the rank of each user's target in the user's list.

    Args:
      lists: `[U, k]` int32 row numbers of items, the best first, padded with -1.
      targets: `[U]` int32.

    Returns:
      `[U]` int32, from 1; 0 if the target is not in the list.

    Raises:
      ValueError: if a list has an item twice.
    """
    _refuse_repetitions(lists)
    hits = (lists == targets[:, None]) & (lists >= 0)
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0).astype(np.int32)


def recall_at(ranks: np.ndarray, k: int) -> np.ndarray:
    """Returns recall@k, `[U]` float64: 1 if the target is among the first k, or else 0. It equals the hit rate."""
    return _within(ranks, k).astype(np.float64)


def ndcg_at(ranks: np.ndarray, k: int) -> np.ndarray:
    """Returns NDCG@k, `[U]` float64: 1 / log2(rank + 1) if the target is among the first k, or else 0.

    The ideal DCG, by which the DCG is divided, is 1 for one target (Järvelin and Kekäläinen, 2002).
    """
    return np.where(_within(ranks, k), 1 / np.log2(np.maximum(ranks, 1) + 1), 0.0)


def reciprocal_rank(ranks: np.ndarray) -> np.ndarray:
    """Returns the reciprocal rank, `[U]` float64: 1 / rank, or 0 if the target is not in the list."""
    return np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0.0)


def coverage(lists: np.ndarray, num_items: int) -> float:
    """Returns the catalog coverage: the share of `num_items` items that the lists `[U, k]` contain; -1 is padding."""
    return len(np.unique(lists[lists >= 0])) / num_items


def entropy(lists: np.ndarray) -> float:
    """Returns the Shannon entropy, in bits, of the items in the lists `[U, k]`; -1 is padding.

    It is 0 if all entries are the same item, and log2(n) if n items occur equally often.
    """
    _, counts = np.unique(lists[lists >= 0], return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # Adding 0.0 turns -0.0 into 0.0.


def summary(lists: np.ndarray, targets: np.ndarray, num_items: int) -> dict[str, float]:
    """Returns the metrics of recommendation lists: means over users, coverage and entropy.

    Args:
      lists: `[U, k]` int32 row numbers of items, the best first, padded with -1; k is 10 or more.
      targets: `[U]` int32.
      num_items: N, the size of the catalog.

    Returns:
      recall@5, recall@10, ndcg@5, ndcg@10, mrr (over the whole list), coverage@10 and entropy@10.

    Raises:
      ValueError: if there are no users, the lists are too short, or a list has an item twice.
    """
    if not len(lists) or lists.shape[1] < _LONGEST:
        raise ValueError(f"lists must have shape [U, k] with U >= 1 and k >= {_LONGEST}, not {list(lists.shape)}")
    places = ranks(lists, targets)
    return {
        **{f"recall@{k}": float(recall_at(places, k).mean()) for k in (5, 10)},
        **{f"ndcg@{k}": float(ndcg_at(places, k).mean()) for k in (5, 10)},
        "mrr": float(reciprocal_rank(places).mean()),
        "coverage@10": coverage(lists[:, :10], num_items),
        "entropy@10": entropy(lists[:, :10]),
    }


def _within(ranks: np.ndarray, k: int) -> np.ndarray:
    return (ranks > 0) & (ranks <= k)


def _refuse_repetitions(lists: np.ndarray) -> None:
    in_order = np.sort(lists, axis=1)
    twice = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)
    if twice.any():
        row = int(twice.any(axis=1).argmax())
        raise ValueError(
            f"list {row} has item {in_order[row, 1:][twice[row]][0]} more than once: {lists[row].tolist()}"
        )


# Several bootstrap samples are computed together. This is the maximum total number of users in these samples. It limits
# memory to tens of megabytes.
_DRAWS = 2_000_000


def bootstrap_interval(
    values: np.ndarray, *, seed: int = 0, samples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Returns the bootstrap interval of a metric's mean over users.

    Args:
      values: `[U]`, a metric for each user.
      seed: the same seed gives the same interval.
      samples: number of bootstrap samples of users, drawn with replacement.
      level: the share of resampled means inside the interval.
    """
    return _percentiles(_resampled_means(values[None], np.random.default_rng(seed), samples)[:, 0], level)


def mean_interval(
    values: np.ndarray, *, seed: int = 0, samples: int = 1000, level: float = 0.95
) -> tuple[float, float, float]:
    """Returns a metric's mean over training seeds and users, and the two ends of its bootstrap interval.

    Both users and seeds are resampled, so the interval includes the variance between users and between training runs.
    Each sample has the same users for every seed, since all seeds are tested on the same users. With few seeds, the
    variance between seeds is underestimated by the factor (S - 1) / S. With one seed, it is ignored.

    Args:
      values: `[S, U]`, a metric for each training seed and user.
      seed, samples, level: see `bootstrap_interval`.
    """
    random = np.random.default_rng(seed)
    means = _over_drawn_seeds(_resampled_means(values, random, samples), random)
    return float(values.mean()), *_percentiles(means, level)


def paired_difference(
    a: np.ndarray, b: np.ndarray, *, seed: int = 0, samples: int = 1000, level: float = 0.95
) -> tuple[float, float, float]:
    """Returns the mean difference `a - b` on the same users, and the two ends of its paired bootstrap interval.

    Each sample has the same users for `a` and `b`, since targets that one recommender misses are often missed by the
    other recommender. Seeds are resampled separately, because two different recommenders with the same seed have
    nothing in common. See `mean_interval` on the variance between few seeds.

    Args:
      a, b: `[S, U]`, a metric for each training seed and user; S may differ.
      seed, samples, level: see `bootstrap_interval`.

    Raises:
      ValueError: if `a` and `b` have different numbers of users.
    """
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"a and b must have shape [S, U] with the same users, not {list(a.shape)} and {list(b.shape)}")
    random = np.random.default_rng(seed)
    means = _resampled_means(np.concatenate([a, b]), random, samples)
    differences = _over_drawn_seeds(means[:, : len(a)], random) - _over_drawn_seeds(means[:, len(a) :], random)
    return float(a.mean() - b.mean()), *_percentiles(differences, level)


def _resampled_means(values: np.ndarray, random: np.random.Generator, samples: int) -> np.ndarray:
    """Returns `[samples, S]`: the mean of each row of `[S, U]` over resampled users, the same users for all rows."""
    num_users = values.shape[1]
    at_once = max(1, _DRAWS // num_users)
    blocks = []
    for start in range(0, samples, at_once):
        users = random.integers(num_users, size=(min(at_once, samples - start), num_users), dtype=np.int32)
        blocks.append(np.stack([row[users].mean(axis=1) for row in values], axis=1))
    return np.concatenate(blocks)


def _over_drawn_seeds(means: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns `[samples]`: the mean of each row of `[samples, S]` over resampled seeds."""
    drawn = random.integers(means.shape[1], size=means.shape)
    return np.take_along_axis(means, drawn, axis=1).mean(axis=1)


def _percentiles(means: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
