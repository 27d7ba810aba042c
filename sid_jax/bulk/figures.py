"""What all pieces together say of the codes: figures of the whole, from sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sid_jax.ids.quality import entropy_of_counts, gini_of_sizes
from sid_jax.quantize.health import perplexity_of_counts, usage_of_counts


def code_figures(num_items: int, counts: Sequence[np.ndarray], shared: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns what `quantize.health.code_health` and an export's manifest say of codes.

    Args:
      num_items: N.
      counts: for each level `[K]`, how often each code was taken.
      shared: what `groups.count_group` returned of each group.
    """
    sizes, how_many = (np.concatenate([each["bucket_sizes"][column] for each in shared]) for column in (0, 1))
    sizes, where = np.unique(sizes, return_inverse=True)
    how_many = np.bincount(where, how_many).astype(np.int64)
    floor = {"max_distinct_rate": sum(each["distinct_vectors"] for each in shared) / num_items}
    return figures_of_buckets(num_items, counts, sizes, how_many) | floor


def figures_of_buckets(
    num_items: int, counts: Sequence[np.ndarray], sizes: np.ndarray, how_many: np.ndarray
) -> dict[str, Any]:
    """Returns `code_figures` but for what vectors say.

    Args:
      num_items: N.
      counts: for each level `[K]`, how often each code was taken.
      sizes: `[S]`, numbers of items that share a tuple, all different and in rising order.
      how_many: `[S]`, how many tuples have so many items.
    """
    return {
        "distinct_rate": how_many.sum() / num_items,
        "collision_share": 1 - float(how_many[sizes == 1].sum()) / num_items,
        "largest_bucket": int(sizes.max()),
        "usage": usage_of_counts(counts),
        "perplexity": perplexity_of_counts(counts),
        "gini": gini_of_sizes(sizes, how_many),
        "entropy": entropy_of_counts(counts),
    }


def r2_of_moments(moments: np.ndarray) -> dict[str, float]:
    """Returns R^2, the squared error (a feature's mean) and how many items they are of.

    Args:
      moments: `[D + 3]`, of all items decoded: their number, squared error, squared distance to a fixed vector, and the
        sum of what they are from that.
    """
    count, error, away, *sums = moments.tolist()
    spread = away - float(np.square(sums).sum()) / count
    return {
        "r2_sampled": 1 - error / spread if spread > 0 else 0.0,
        "mse_sampled": error / count / len(sums),
        "num_sampled": int(count),
    }
