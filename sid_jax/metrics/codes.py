"""How good a set of codes is: figures of the whole corpus, never of a batch, a sample or a split.

Each function takes all N items (at least 1). A *bucket* is the set of items that share one tuple of codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sid_jax.data.blocks import in_blocks


def distinct_rate(codes: np.ndarray) -> float:
    """Returns the number of distinct tuples in codes `[N, L]`, divided by N; 1 if no two items collide."""
    return len(_bucket_sizes(codes)) / len(codes)


def max_distinct_rate(vectors: np.ndarray) -> float:
    """Returns the number of distinct rows in vectors `[N, D]`, divided by N: the highest `distinct_rate` there can be.

    Items whose vectors are the same, byte for byte, get the same codes from any encoder.
    """
    hashes = np.concatenate([row_hashes(block) for _, block in in_blocks(vectors)])
    hashes.sort()
    return (1 + np.count_nonzero(hashes[1:] != hashes[:-1])) / len(vectors)


def collision_share(codes: np.ndarray) -> float:
    """Returns the share of the N items whose tuple in codes `[N, L]` some other item has too."""
    sizes = _bucket_sizes(codes)
    return float(sizes[sizes > 1].sum() / len(codes))


def largest_bucket(codes: np.ndarray) -> int:
    """Returns how many items share the most common tuple in codes `[N, L]`; 1 if no two items collide."""
    return int(_bucket_sizes(codes).max())


def usage(codes: np.ndarray, sizes: Sequence[int]) -> list[float]:
    """Returns for each level the share of its K codes that at least one item has.

    Args:
      codes: `[N, L]` int32.
      sizes: K of each of the L levels.

    Raises:
      ValueError: if there are not L sizes, or a code is not below its level's K.
    """
    return usage_of_counts(_code_counts(codes, sizes))


def usage_of_counts(counts: Sequence[np.ndarray]) -> list[float]:
    """Returns `usage` from how often each code was taken: for each level `[K]` int."""
    return [float(np.count_nonzero(level) / len(level)) for level in counts]


def perplexity(codes: np.ndarray, sizes: Sequence[int]) -> list[float]:
    """Returns for each level `exp(-sum_k p_k ln p_k)`, with `p_k` the share of the items that have code k.

    It is K if all codes are equally common, and 1 if every item has the same.

    Args:
      codes: `[N, L]` int32.
      sizes: K of each of the L levels.

    Raises:
      ValueError: if there are not L sizes, or a code is not below its level's K.
    """
    return perplexity_of_counts(_code_counts(codes, sizes))


def perplexity_of_counts(counts: Sequence[np.ndarray]) -> list[float]:
    """Returns `perplexity` from how often each code was taken: for each level `[K]` int."""
    return [_exp_entropy(level[level > 0] / level.sum()) for level in counts]


def distinct_tuples(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the M distinct rows of codes `[N, l]`, `[M, l]`, and how often each is there, `[M]`."""
    codes = np.ascontiguousarray(codes)
    # Rows compared as bytes sort ten times faster than by number.
    as_bytes = codes.view(np.dtype((np.void, codes.itemsize * codes.shape[1])))
    tuples, counts = np.unique(as_bytes, return_counts=True)
    return tuples.view(codes.dtype).reshape(len(tuples), -1), counts


def code_health(codes: np.ndarray, sizes: Sequence[int], floor: float) -> dict[str, Any]:
    """Returns all figures of this module under their names, as plain numbers and lists, ready for JSON.

    Args:
      codes: `[N, L]` int32.
      sizes: K of each of the L levels.
      floor: `max_distinct_rate` of the vectors, which is the same for all codes that are ever learned for them.

    Raises:
      ValueError: if there are not L sizes, or a code is not below its level's K.
    """
    return {
        "distinct_rate": distinct_rate(codes),
        "max_distinct_rate": floor,
        "collision_share": collision_share(codes),
        "largest_bucket": largest_bucket(codes),
        "usage": usage(codes, sizes),
        "perplexity": perplexity(codes, sizes),
    }


def _bucket_sizes(codes: np.ndarray) -> np.ndarray:
    return distinct_tuples(codes)[1]


def row_hashes(rows: np.ndarray) -> np.ndarray:
    """Returns `[n]` uint64, a hash of each row's bytes: rows that are the same have the same, others do not.

    It is made of the upper halves of two sums of the row's words times random odd numbers, modulo 2^64. In each of them
    rows that differ meet with a chance of 2^-31 at most, so that two of ten million do with one of about 1e-5.
    """
    words = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    words = np.pad(words, ((0, 0), (0, -words.shape[1] % 4))).view(np.uint32).astype(np.uint64)
    random = np.random.default_rng(0)
    factors = random.integers(0, 2**63, (words.shape[1], 2), np.uint64) * np.uint64(2) + np.uint64(1)
    sums = words @ factors
    return (sums[:, 0] & np.uint64(0xFFFFFFFF00000000)) | (sums[:, 1] >> np.uint64(32))


def _code_counts(codes: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    if len(sizes) != codes.shape[1]:
        raise ValueError(f"sizes are of {len(sizes)} levels, the codes of {codes.shape[1]}")
    counts = [np.bincount(level, minlength=size) for level, size in zip(codes.T, sizes, strict=True)]
    for level, (found, size) in enumerate(zip(counts, sizes, strict=True)):
        if len(found) > size:
            raise ValueError(f"level {level} has code {len(found) - 1}, but only {size} codes")
    return counts


def _exp_entropy(shares: np.ndarray) -> float:
    return float(np.exp(-np.sum(shares * np.log(shares))))
