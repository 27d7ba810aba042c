"""Metrics of an ID table: the share of co-occurring items that have the same prefix, and its value by chance."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from sid_jax.metrics.ids import prefix_buckets


def together_share_prefix(semantic_ids: np.ndarray, counts: sparse.csr_array) -> list[float]:
    """Returns, for each prefix length, the share of co-occurring pairs of items whose IDs have the same prefix.

    Pairs are weighted by their number of co-occurrences.

    Args:
      semantic_ids: `[N, L]`.
      counts: `[N, N]`, symmetric, from `data.collaborative.pair_counts`; 0 for an item with itself.
    """
    pairs = counts.tocoo()
    rows, columns = pairs.coords
    total = float(pairs.data.sum())
    shares = []
    for depth in range(1, semantic_ids.shape[1] + 1):
        bucket = prefix_buckets(semantic_ids, depth)
        shares.append(float(pairs.data[bucket[rows] == bucket[columns]].sum()) / total)
    return shares


def together_by_chance(semantic_ids: np.ndarray, counts: sparse.csr_array) -> list[float]:
    """Returns the value of `together_share_prefix` that is expected if co-occurrence depends on popularity alone.

    Both items of a pair are drawn from all items, in proportion to their number of pairs, and are never equal.

    Args:
      semantic_ids: `[N, L]`.
      counts: `[N, N]`, as for `together_share_prefix`.
    """
    taken = np.asarray(counts.sum(axis=1)).reshape(-1)
    share = taken / taken.sum()
    itself = float(np.square(share).sum())
    found = []
    for depth in range(1, semantic_ids.shape[1] + 1):
        under = np.bincount(prefix_buckets(semantic_ids, depth), share)
        found.append((float(np.square(under).sum()) - itself) / (1 - itself))
    return found
