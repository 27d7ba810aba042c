"""Metrics of codes over all N >= 1 items: codebook usage, collisions, and the balance of codes and buckets.

A *bucket* is the set of items with the same code tuple. `sid_jax.metrics.ids` has metrics of Semantic IDs of any
origin, and `sid_jax.metrics.vectors` has metrics of vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sid_jax.data.blocks import in_blocks

_MOST_GROUPS = 50
_MOST_ITEMS_OF_A_GROUP = 20


def code_figures(codes: np.ndarray, sizes: Sequence[int], max_distinct_rate: float | None = None) -> dict[str, Any]:
    """Returns all metrics of codes by name, as Python numbers and lists, ready for JSON.

    Args:
      codes: `[N, L]` int32.
      sizes: K of each of the L levels.
      max_distinct_rate: the result of `max_distinct_rate` for the vectors; None if unknown.

    Returns:
      `distinct_rate`, the number of distinct tuples divided by N; `max_distinct_rate` if known; `collision_share`, the
      share of items whose tuple another item also has; `largest_bucket`, the number of items with the most common
      tuple; `usage` and `perplexity` (see `usage` and `perplexity_of_counts`); `gini`, the Gini coefficient of the
      sizes of the buckets in use (FORGE, 2509.20904); and `entropy`, the entropy of the codes of each level in bits, at
      most log2 K (2506.13695).

    Raises:
      ValueError: if there are not L sizes, or a code is not below its level's K.
    """
    return figures_of_counts(code_counts(codes, sizes), *_buckets(codes), max_distinct_rate)


def figures_of_counts(
    counts: Sequence[np.ndarray],
    bucket_sizes: np.ndarray,
    how_many: np.ndarray,
    max_distinct_rate: float | None = None,
) -> dict[str, Any]:
    """Returns the metrics of `code_figures`, computed from counts. The counts of several chunks can be summed first.

    Args:
      counts: for each level, the number of items with each code, `[K]`.
      bucket_sizes: `[S]`, in any order; sizes may repeat.
      how_many: `[S]`, the number of buckets with each size.
      max_distinct_rate: see `code_figures`.
    """
    bucket_sizes, where = np.unique(bucket_sizes, return_inverse=True)
    how_many = np.bincount(where, how_many).astype(np.int64)
    items = bucket_sizes * how_many
    return {
        "distinct_rate": float(how_many.sum() / items.sum()),
        **({} if max_distinct_rate is None else {"max_distinct_rate": max_distinct_rate}),
        "collision_share": float(items[bucket_sizes > 1].sum() / items.sum()),
        "largest_bucket": int(bucket_sizes.max()),
        "usage": usage_of_counts(counts),
        "perplexity": perplexity_of_counts(counts),
        "gini": _gini(bucket_sizes, how_many),
        "entropy": [float(-np.sum(share * np.log2(share))) + 0.0 for share in _shares(counts)],
    }


def distinct_rate(codes: np.ndarray) -> float:
    """Returns the number of distinct tuples in codes `[N, L]`, divided by N; 1 if all items have different tuples."""
    return int(_buckets(codes)[1].sum()) / len(codes)


def max_distinct_rate(vectors: np.ndarray) -> float:
    """Returns the number of distinct rows in vectors `[N, D]`, divided by N: an upper bound on `distinct_rate`.

    Items whose vectors are identical get the same codes from any encoder.
    """
    hashes = np.concatenate([row_hashes(block) for _, block in in_blocks(vectors)])
    hashes.sort()
    return (1 + int(np.count_nonzero(hashes[1:] != hashes[:-1]))) / len(vectors)


def usage(codes: np.ndarray, sizes: Sequence[int]) -> list[float]:
    """Returns, for each level of codes `[N, L]` int32, the share of its K codes that at least one item has.

    Raises:
      ValueError: if there are not L sizes, or a code is not below its level's K.
    """
    return usage_of_counts(code_counts(codes, sizes))


def usage_of_counts(counts: Sequence[np.ndarray]) -> list[float]:
    """Returns `usage` from the number of items with each code, `[K]` int for each level."""
    return [float(np.count_nonzero(level) / len(level)) for level in counts]


def perplexity_of_counts(counts: Sequence[np.ndarray]) -> list[float]:
    """Returns the perplexity of each level's codes, `exp(-sum_k p_k ln p_k)`; `p_k` is the share of items with code k.

    The perplexity is K if all codes are equally common, and 1 if all items have the same code. `counts` has `[K]` for
    each level.
    """
    return [float(np.exp(-np.sum(share * np.log(share)))) for share in _shares(counts)]


def distinct_tuples(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the M distinct rows `[M, l]` of codes `[N, l]`, and the number of occurrences of each, `[M]`."""
    codes = np.ascontiguousarray(codes)
    # Sorting rows as bytes is ten times faster than as numbers.
    as_bytes = codes.view(np.dtype((np.void, codes.itemsize * codes.shape[1])))
    tuples, counts = np.unique(as_bytes, return_counts=True)
    return tuples.view(codes.dtype).reshape(len(tuples), -1), counts


def identical_items(vectors: np.ndarray) -> dict[str, Any]:
    """Returns the number of groups of items with equal vectors, the number of items in them, and the largest groups."""
    sizes, groups = groups_of_hashes(np.concatenate([row_hashes(block) for _, block in in_blocks(vectors)]))
    return {
        "num_items": int(sizes[sizes > 1].sum()),
        "num_groups": int((sizes > 1).sum()),
        "groups": [{"size": size, "rows": rows.tolist()} for size, rows in groups],
    }


def groups_of_hashes(hashes: np.ndarray) -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
    """Returns the sizes of the groups of equal hashes `[n]`, and the largest groups with more than one member.

    Returns:
      `[G]`, the size of each group; and at most 50 groups, the largest first. Each of these groups has its size and the
        indices of at most 20 members.
    """
    order = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(np.append(True, hashes[order][1:] != hashes[order][:-1]))
    sizes = np.diff(np.append(starts, len(order)))
    largest = [each for each in np.argsort(-sizes, kind="stable")[:_MOST_GROUPS] if sizes[each] > 1]
    rows = [order[starts[each] :][: min(sizes[each], _MOST_ITEMS_OF_A_GROUP)] for each in largest]
    return sizes, list(zip(sizes[largest].tolist(), rows, strict=True))


def row_hashes(rows: np.ndarray) -> np.ndarray:
    """Returns a hash of each row's bytes, `[n]` uint64. Two different rows have equal hashes only very rarely.

    In each of two sums modulo 2^64, every word of the row is multiplied by its own random odd number. The hash combines
    the upper halves of the sums. For two different rows, each half is equal with a probability of at most 2^-31. The
    probability that any two of ten million different rows have equal hashes is therefore about 1e-5.
    """
    words = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    words = np.pad(words, ((0, 0), (0, -words.shape[1] % 4))).view(np.uint32).astype(np.uint64)
    random = np.random.default_rng(0)
    factors = random.integers(0, 2**63, (words.shape[1], 2), np.uint64) * np.uint64(2) + np.uint64(1)
    sums = words @ factors
    return (sums[:, 0] & np.uint64(0xFFFFFFFF00000000)) | (sums[:, 1] >> np.uint64(32))


def code_counts(codes: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Returns, for each level, the number of items with each code, `[K]`; raises ValueError as `usage` does."""
    if len(sizes) != codes.shape[1]:
        raise ValueError(
            f"sizes are given for {len(sizes)} levels, but codes have {codes.shape[1]}; give one size per level"
        )
    counts = [np.bincount(level, minlength=size) for level, size in zip(codes.T, sizes, strict=True)]
    for level, (found, size) in enumerate(zip(counts, sizes, strict=True), start=1):
        if len(found) > size:
            raise ValueError(
                f"level {level} has the code {len(found) - 1}, but its size is {size}; codes must be below the size"
            )
    return counts


def _buckets(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct bucket sizes in ascending order, and the number of buckets with each size."""
    return np.unique(distinct_tuples(codes)[1], return_counts=True)


def _gini(sizes: np.ndarray, how_many: np.ndarray) -> float:
    """Returns the Gini coefficient of distinct sizes `[S]` in ascending order, each of which occurs `how_many` times.

    For n sizes in ascending order it is `sum_i (2 i - n - 1) size_i / (n sum_i size_i)`, which is 0 for equal sizes.
    """
    ends = np.cumsum(how_many)
    # In the ascending order, the buckets of one size have the positions from a = end - how_many + 1 to b = end. The sum
    # of 2 i - n - 1 over these positions i is (b - a + 1)(a + b - n - 1).
    weights = how_many * (2 * ends - how_many - ends[-1])
    return float((weights * sizes).sum() / (ends[-1] * (how_many * sizes).sum()))


def _shares(counts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns, for each level and each of its codes in use, the share of items with this code."""
    return [level[level > 0] / level.sum() for level in counts]
