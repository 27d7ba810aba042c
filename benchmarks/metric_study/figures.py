"""The metrics under test: numbers that describe an ID table without a recommender."""

from __future__ import annotations

import numpy as np

from metric_study.pairs import together_by_chance, together_share_prefix
from metric_study.tables import Made
from metric_study.world import World
from sid_jax.data.histories import Histories
from sid_jax.metrics.codes import code_figures
from sid_jax.metrics.ids import (
    explained_beyond_chance,
    neighbors_share_prefix,
    prefix_buckets,
    prefixes_in_use,
    purity,
    same_prefix_by_chance,
)
from sid_jax.metrics.vectors import nearest_items

# Number of pseudo-counts that the Dirichlet prior adds to the counts of next prefixes after each prefix. They are
# distributed by popularity. With fewer pseudo-counts, the estimated information would be negative for most tables.
_PRIOR = 500.0


def measure(world: World, made: Made) -> dict[str, float]:
    """Returns all metrics of a table by name.

    At the end of a name, ", 1" or ", 2" is a level, or the prefix length in codes. IDs of one code have no prefix of
    length 2, so the prefix of length 1 is used.
    """
    ids, depth = made.semantic_ids, min(2, made.semantic_ids.shape[1])
    asked = np.arange(len(ids))
    near = neighbors_share_prefix(ids, nearest_items(world.vectors, asked, 10), asked)
    any_two = same_prefix_by_chance(ids)
    content, together = (explained_beyond_chance(ids, vectors) for vectors in (world.vectors, world.together))
    pairs, by_chance = together_share_prefix(ids, world.pairs), together_by_chance(ids, world.pairs)
    genres = purity(ids[:, :1], world.genres)[0]
    found = code_figures(made.codes, made.sizes)
    bits = found["entropy"]
    in_use = [each["in_use"] for each in prefixes_in_use(ids, (ids.max(axis=0) + 1).tolist())]
    figures = {
        "R²": made.r2,
        "R² of prefixes, 1": content[0],
        "R² of prefixes, 2": content[depth - 1],
        "neighbors with the same prefix, 1": near[0],
        "neighbors with the same prefix, beyond chance, 1": near[0] - any_two[0],
        "neighbors with the same prefix, beyond chance, 2": near[depth - 1] - any_two[depth - 1],
        "genre purity beyond chance, 1": genres["purity"] - genres["chance"],
        "co-occurring items with the same prefix, 1": pairs[0],
        "co-occurring items with the same prefix, beyond chance, 1": pairs[0] - by_chance[0],
        "co-occurring items with the same prefix, beyond chance, 2": pairs[depth - 1] - by_chance[depth - 1],
        "R² of co-occurrence, 1": together[0],
        "R² of co-occurrence, 2": together[depth - 1],
        "next item's bits, 1": next_bits(world.known, ids[:, :1]),
        "next item's bits, 2": next_bits(world.known, ids[:, :2]),
        "distinct codes": found["distinct_rate"],
        "largest bucket": found["largest_bucket"],
        "Gini of buckets": found["gini"],
        "codes in use, lowest of all levels": min(found["usage"]),
        "perplexity / K, 1": found["perplexity"][0] / made.sizes[0],
        "entropy, 1": bits[0],
        "entropy, all levels": sum(bits),
        "prefixes in use, 1": float(in_use[0]),
        "prefixes in use, 2": float(in_use[depth - 1]),
        "levels": float(ids.shape[1]),
    }
    return {name: float(value) for name, value in figures.items()}


def next_bits(histories: Histories, prefixes: np.ndarray) -> float:
    """Returns the mutual information of an item's prefix and the next item of the history, in bits.

    It is the mean of log2(P(next item | prefix) / P(next item)). The probability of an item among the items with the
    same prefix is assumed to depend only on its popularity. The popularity cancels in the ratio, so the ratio is
    computed from the prefixes of the two items alone. Probabilities are estimated on half of the users and evaluated on
    the other half, and vice versa.

    Args:
      histories: histories of the users.
      prefixes: `[N, l]`, the prefix of each item.
    """
    bucket = prefix_buckets(prefixes, prefixes.shape[1])
    user = np.repeat(np.arange(len(histories)), histories.lengths)
    follows = user[1:] == user[:-1]
    before, after = bucket[histories.items[:-1]][follows], bucket[histories.items[1:]][follows]
    half = user[1:][follows] % 2
    gains = [_gains(before, after, half == side, int(bucket.max()) + 1) for side in (0, 1)]
    return float(np.concatenate(gains).mean())


def _gains(before: np.ndarray, after: np.ndarray, fitted: np.ndarray, count: int) -> np.ndarray:
    """Returns log2(P(next prefix | prefix) / P(next prefix)) of each pair of consecutive items not in `fitted`.

    Probabilities are estimated on the pairs in `fitted`, with a Dirichlet prior.
    """
    popular = np.bincount(after[fitted], minlength=count) + 1.0
    popular /= popular.sum()
    seen = np.bincount(before[fitted], minlength=count)
    pairs, times = np.unique(before[fitted] * count + after[fitted], return_counts=True)
    asked = before[~fitted] * count + after[~fitted]
    place = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
    together = np.where(pairs[place] == asked, times[place], 0)
    prior = _PRIOR * popular[after[~fitted]]
    likely = (together + prior) / (seen[before[~fitted]] + _PRIOR)
    return np.log2(likely / popular[after[~fitted]])
