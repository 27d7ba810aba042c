"""Metrics of Semantic IDs of any origin: prefixes in use, variance explained by prefixes, purity and stability.

Most metrics have a chance level or an upper bound to compare with. N is the number of items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy

from sid_jax.streams import stream_rng


def prefix_buckets(semantic_ids: np.ndarray, depth: int) -> np.ndarray:
    """Returns the index of each item's prefix of `depth` codes, `[N]`; prefixes are numbered in lexicographic order."""
    if depth == 0:
        return np.zeros(len(semantic_ids), np.int64)
    # In NumPy 2.0.0, the inverse is not one-dimensional.
    return np.unique(semantic_ids[:, :depth], axis=0, return_inverse=True)[1].reshape(-1)


def prefixes_in_use(semantic_ids: np.ndarray, sizes: Sequence[int]) -> list[dict[str, int]]:
    """Returns, for each depth, the number of prefixes in use and the maximum number, `min(N, product of K)`."""
    return [
        {
            "in_use": int(prefix_buckets(semantic_ids, depth).max()) + 1,
            "most": min(len(semantic_ids), math.prod(sizes[:depth])),
        }
        for depth in range(1, len(sizes) + 1)
    ]


def explained_by_prefix(semantic_ids: np.ndarray, vectors: np.ndarray) -> list[float]:
    """Returns, for each depth of IDs `[N, L]`, the share of the variance of vectors `[N, D]` explained by the prefix.

    This is the R^2 if each item's vector is predicted by the mean vector of the items with its prefix. No decoder that
    knows only the prefix has a higher R^2. No codebook is needed, so IDs of any origin can be compared. R^2 is 1 at a
    depth at which each item has its own prefix.
    """
    centered = vectors - vectors.mean(axis=0, dtype=np.float64)
    total = float(np.square(centered).sum()) or 1.0
    explained = []
    for depth in range(1, semantic_ids.shape[1] + 1):
        bucket = prefix_buckets(semantic_ids, depth)
        order = np.argsort(bucket, kind="stable")
        counts = np.bincount(bucket)
        sums = np.add.reduceat(centered[order], np.cumsum(counts) - counts, axis=0)
        explained.append(float((np.square(sums).sum(axis=1) / counts).sum()) / total)
    return explained


def explained_beyond_chance(semantic_ids: np.ndarray, vectors: np.ndarray) -> list[float]:
    """Returns, for each depth, `explained_by_prefix` corrected for chance: R^2 adjusted for the number of prefixes.

    The means of P random groups of N items explain (P - 1) / (N - 1) of the variance in expectation, whatever the group
    sizes. The result is (explained - chance) / (1 - chance): 0 on average for random prefixes, and at most 1, for any
    P. At a depth at which each item has its own prefix, the result is undefined and set to 0.
    """
    above = []
    for depth, explained in enumerate(explained_by_prefix(semantic_ids, vectors), start=1):
        chance = float(prefix_buckets(semantic_ids, depth).max()) / max(len(semantic_ids) - 1, 1)
        above.append((explained - chance) / (1 - chance) if chance < 1 else 0.0)
    return above


def same_prefix_by_chance(semantic_ids: np.ndarray) -> list[float]:
    """Returns, for each depth, the probability that two different random items have the same prefix."""
    pairs = max(len(semantic_ids) * (len(semantic_ids) - 1), 1)
    sizes = [np.bincount(prefix_buckets(semantic_ids, depth)) for depth in range(1, semantic_ids.shape[1] + 1)]
    return [float((size * (size - 1.0)).sum() / pairs) for size in sizes]


def purity(semantic_ids: np.ndarray, labels: Sequence[Sequence[str]], *, shuffles: int = 5) -> list[dict[str, float]]:
    """Returns the purity of prefixes at each depth: the share of items that have the most common label of their prefix.

    An item may have several labels, like a movie with several genres. Items without labels are excluded. Prefixes with
    few items are often pure by chance. The chance level is the mean purity over random permutations of the labels.

    Args:
      semantic_ids: `[N, L]`.
      labels: N lists of labels.
      shuffles: number of permutations.

    Returns:
      For each depth "purity" and "chance"; an empty list if no item has a label.
    """
    labeled = np.array([len(each) > 0 for each in labels])
    if not labeled.any():
        return []
    kept, known = semantic_ids[labeled], [each for each in labels if len(each)]
    names = {name: number for number, name in enumerate(sorted({name for each in known for name in each}))}
    item = np.repeat(np.arange(len(known)), [len(set(each)) for each in known])
    label = np.array([names[name] for each in known for name in sorted(set(each))])
    random = stream_rng(0, "purity")
    orders = [random.permutation(len(known)) for _ in range(shuffles)]
    figures = []
    for depth in range(1, semantic_ids.shape[1] + 1):
        bucket = prefix_buckets(kept, depth)
        by_chance = [_purity(bucket[order], item, label, len(names)) for order in orders]
        figures.append({"purity": _purity(bucket, item, label, len(names)), "chance": float(np.mean(by_chance))})
    return figures


def _purity(bucket: np.ndarray, item: np.ndarray, label: np.ndarray, num_labels: int) -> float:
    pairs, counts = np.unique(bucket[item] * num_labels + label, return_counts=True)
    most = np.zeros(int(bucket.max()) + 1, np.int64)
    np.maximum.at(most, pairs // num_labels, counts)
    return float(most.sum() / len(bucket))


def stability(semantic_ids: np.ndarray, others: np.ndarray) -> float:
    """Returns the share of N items whose first code is the same in two sets of IDs, after the best renumbering.

    The IDs are `[N, L]` and `[N, L']`. Code numbers are arbitrary, so a retrained quantizer may number the same groups
    differently. The renumbering is the one-to-one matching with the most agreeing items (Kuhn, The Hungarian Method for
    the Assignment Problem, 1955).
    """
    together = np.zeros((int(semantic_ids[:, 0].max()) + 1, int(others[:, 0].max()) + 1), np.int64)
    np.add.at(together, (semantic_ids[:, 0], others[:, 0]), 1)
    return float(together[scipy.optimize.linear_sum_assignment(together, maximize=True)].sum() / len(semantic_ids))


def neighbors_share_prefix(semantic_ids: np.ndarray, neighbors: np.ndarray, asked: np.ndarray) -> list[float]:
    """Returns, for each depth of IDs `[N, L]`, the share of neighbors that have the same prefix as their item.

    `asked` `[M]` are the rows of the items, and `neighbors` `[M, C]` the rows of their neighbors, from `nearest_items`.
    """
    equal = semantic_ids[neighbors] == semantic_ids[asked][:, None]
    return np.logical_and.accumulate(equal, axis=-1).mean(axis=(0, 1)).tolist()
