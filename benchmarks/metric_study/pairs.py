"""Do items that the same users take together share prefixes?"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from sid_jax.metrics.ids import prefix_buckets


def together_share_prefix(semantic_ids: np.ndarray, counts: sparse.csr_array) -> list[float]:
    """Returns for each depth the share of the pairs of items taken together that have the same prefix.

    A pair counts as often as it is taken together.

    Args:
      semantic_ids: `[N, L]`.
      counts: `[N, N]`, symmetric, as from `data.collaborative.pair_counts`; 0 for an item with itself.
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
    """Returns `together_share_prefix` as it would be if popularity alone said what is taken together.

    Both items of a pair are then drawn from all, each as often as it is in a pair at all, and never the same one twice.

    Args:
      semantic_ids: `[N, L]`.
      counts: `[N, N]`.
    """
    taken = np.asarray(counts.sum(axis=1)).reshape(-1)
    share = taken / taken.sum()
    itself = float(np.square(share).sum())
    found = []
    for depth in range(1, semantic_ids.shape[1] + 1):
        under = np.bincount(prefix_buckets(semantic_ids, depth), share)
        found.append((float(np.square(under).sum()) - itself) / (1 - itself))
    return found
