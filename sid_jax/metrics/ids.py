"""Figures of Semantic IDs, whoever made them: prefixes in use, what prefixes say of items, and stability.

Beside each figure stands what chance would give, or the most that there can be. All are over all N items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from sid_jax.streams import stream_rng


def prefix_buckets(semantic_ids: np.ndarray, depth: int) -> np.ndarray:
    """Returns for each item which prefix of `depth` codes it has: `[N]`, numbered from 0 in lexicographic order."""
    if depth == 0:
        return np.zeros(len(semantic_ids), np.int64)
    return np.unique(semantic_ids[:, :depth], axis=0, return_inverse=True)[1].reshape(-1)


def prefixes_in_use(semantic_ids: np.ndarray, sizes: Sequence[int]) -> list[dict[str, int]]:
    """Returns for each depth how many prefixes are in use, and how many there could be: `min(N, product of K)`."""
    return [
        {
            "in_use": int(prefix_buckets(semantic_ids, depth).max()) + 1,
            "most": min(len(semantic_ids), math.prod(sizes[:depth])),
        }
        for depth in range(1, len(sizes) + 1)
    ]


def explained_by_prefix(semantic_ids: np.ndarray, vectors: np.ndarray) -> list[float]:
    """Returns for each depth of IDs `[N, L]` the share of the variance of vectors `[N, D]` that lies between prefixes.

    It is the R^2 of each item's vector against the mean of the items under its prefix: the most that any decoder could
    reach that knows the prefix alone. It needs no codebook, so that IDs of different makers can be compared, and is 1
    where each item has a prefix to itself.
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
    """Returns for each depth what `explained_by_prefix` is above chance, as a share of what it could be above it.

    P groups of N items have means that differ by chance alone: prefixes that are dealt out at random explain
    (P - 1) / (N - 1), whatever their sizes. So this is 0 on average for such and 1 at most, whatever P is: R^2 adjusted
    for the number of groups. Where each item has a prefix to itself there is nothing to tell, and it is 0.
    """
    above = []
    for depth, explained in enumerate(explained_by_prefix(semantic_ids, vectors), start=1):
        chance = float(prefix_buckets(semantic_ids, depth).max()) / max(len(semantic_ids) - 1, 1)
        above.append((explained - chance) / (1 - chance) if chance < 1 else 0.0)
    return above


def same_prefix_by_chance(semantic_ids: np.ndarray) -> list[float]:
    """Returns for each depth the chance that two different items, drawn at random, have the same prefix."""
    pairs = max(len(semantic_ids) * (len(semantic_ids) - 1), 1)
    sizes = [np.bincount(prefix_buckets(semantic_ids, depth)) for depth in range(1, semantic_ids.shape[1] + 1)]
    return [float((size * (size - 1.0)).sum() / pairs) for size in sizes]


def purity(semantic_ids: np.ndarray, labels: Sequence[Sequence[str]], *, shuffles: int = 5) -> list[dict[str, float]]:
    """Returns for each depth the share of the items that have the most common label of their prefix, and by chance.

    An item may have several labels, as a film has genres; items without one are left out. By chance is the mean over
    so many random exchanges of the items' labels, with the prefixes as they are: small buckets are pure by themselves.

    Args:
      semantic_ids: `[N, L]`.
      labels: N lists.
      shuffles: how many exchanges.

    Returns:
      For each depth "purity" and "chance"; nothing if no item has a label.
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
    """Returns the share of N items whose first codes are equal in IDs `[N, L]` and `[N, L']`, after the best renaming.

    Codes have no order: a retrained quantizer may give the same groups other numbers. The renaming is the one-to-one
    matching that makes the most items agree (Kuhn, The Hungarian Method for the Assignment Problem, 1955).
    """
    together = np.zeros((int(semantic_ids[:, 0].max()) + 1, int(others[:, 0].max()) + 1), np.int64)
    np.add.at(together, (semantic_ids[:, 0], others[:, 0]), 1)
    return float(together[linear_sum_assignment(together, maximize=True)].sum() / len(semantic_ids))


def neighbors_share_prefix(semantic_ids: np.ndarray, neighbors: np.ndarray, asked: np.ndarray) -> list[float]:
    """Returns for each depth of IDs `[N, L]` the share of neighbors that have the prefix of the item they are near to.

    The items are the rows `asked` `[M]`, their neighbors the rows `[M, C]`, as from `nearest_items`.
    """
    equal = semantic_ids[neighbors] == semantic_ids[asked][:, None]
    return np.logical_and.accumulate(equal, axis=-1).mean(axis=(0, 1)).tolist()
