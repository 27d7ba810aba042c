"""Computes initial embeddings of new tokens from the content of their items.

The usual initialization, the mean of the old embeddings, makes all new tokens equal, and fine-tuning separates them
only partially (Chen et al., 2604.02324). Here, the token of a first code is initialized with the mean embedding of the
items with this code. For later codes, the mean remainder of the items is used. The remainder is the part of an item's
embedding that the tokens of its earlier codes do not represent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy

from sid_jax.data.blocks import in_blocks
from sid_jax.streams import stream_rng

# `[n, E]`: an array, or an object that has a length and whose slices are arrays.
Rows = Any


def initial_embeddings(
    semantic_ids: np.ndarray,
    sizes: Sequence[int],
    item_embeddings: Rows,
    *,
    vocabulary_embeddings: Rows | None = None,
    num_content_levels: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Returns an initial embedding per token, such that the tokens of an ID together approximate the item's embedding.

    The deviation of an embedding is its difference from the mean embedding of all items. The deviations of an ID's
    tokens sum to approximately the deviation of the item.

    The token of a first code gets the mean embedding of the items with this code. The token of a later code gets the
    mean of all items plus the mean remainder of the items with this code, since codes quantize residuals. An item's
    remainder is its deviation minus the deviations of its earlier tokens. A plain mean would be nearly the same for all
    later codes, since the items of a later code are spread over all first codes.

    Tokens without content are the tokens of codes without items, and the tokens of the suffix. Their embeddings are
    drawn at random around the mean of all items, with the spread of the other tokens. Items with embeddings that are
    not finite, such as the mean over an empty title, are excluded from all means.

    Args:
      semantic_ids: `[N, L]` integers.
      sizes: the number of codes K of each level. The sum of these numbers is T, the number of tokens.
      item_embeddings: `[N, E]`, for example the mean of the language model's embeddings of an item's text. The array
        may be memory-mapped (`np.load(path, mmap_mode="r")`); it is read once, in slices.
      vocabulary_embeddings: `[V, E]`, the language model's embeddings. If given, the new embeddings are shifted to the
        mean of the old ones, and each level is scaled to the spread of the old ones, since means of many embeddings
        have small norms. The array is read twice, in slices.
      num_content_levels: number of levels with content; None for all. With the scheme "suffix", the last level has no
        content.
      seed: seed of the random embeddings.

    Returns:
      `[T, E]` float32, in the order of `sid_jax.tokens.vocabulary.Vocabulary`.

    Raises:
      ValueError: if shapes do not match.
    """
    if semantic_ids.shape != (len(item_embeddings), len(sizes)) or not len(semantic_ids):
        raise ValueError(
            f"semantic_ids must have shape [N, L] with {len(item_embeddings)} items and {len(sizes)} levels, not "
            f"{semantic_ids.shape}"
        )
    blocks = (_finite(semantic_ids[first : first + len(rows)], rows) for first, rows in in_blocks(item_embeddings))
    together, sums = tally(blocks, sizes)
    deviations, is_content = _remainder_means(together, sums, sizes, num_content_levels)
    center = sums[: sizes[0]].sum(axis=0) / max(together.diagonal()[: sizes[0]].sum(), 1)
    spread = None
    if vocabulary_embeddings is not None:
        center, spread = center_and_spread(vocabulary_embeddings)
    random = stream_rng(seed, "initial_embeddings").normal(size=deviations.shape)
    drawn = spread or _spread(deviations[is_content])
    for level in level_slices(sizes):
        content = is_content[level]
        if spread and content.any():
            deviations[level] *= spread / (_spread(deviations[level][content]) or 1.0)
        own = _spread(deviations[level][content]) if content.any() else drawn
        deviations[level][~content] = random[level][~content] * own / np.sqrt(deviations.shape[1])
    return (center + deviations).astype(np.float32)


def embeddings_of_codewords(
    codewords: np.ndarray, sizes: Sequence[int], vocabulary_embeddings: Rows, *, seed: int = 0
) -> np.ndarray:
    """Returns an initial embedding per token, such that similar codewords of a level have similar embeddings.

    The codewords of each level, minus their mean, are mapped to E features by a random linear map, which approximately
    preserves ratios of distances (Johnson and Lindenstrauss, 1984). The results are scaled to the spread of the
    language model's embeddings, and the mean of these embeddings is added. The embeddings of tokens without a codeword
    are drawn at random.

    Args:
      codewords: `[T', Z]`, the codewords of the first T' tokens. The tokens of a suffix have no codewords.
      sizes: the number of codes K of each level. The sum of these numbers is T, the number of tokens.
      vocabulary_embeddings: `[V, E]`, the language model's embeddings.
      seed: seed of the map and of the random embeddings.

    Returns:
      `[T, E]` float32, in the order of `sid_jax.tokens.vocabulary.Vocabulary`.

    Raises:
      ValueError: if T' is not the total number of codes of the first one or more levels.
    """
    levels = level_slices(sizes)
    if len(codewords) not in [level.stop for level in levels]:
        raise ValueError(
            f"there are {len(codewords)} codewords, but the sizes {sizes} need one codeword for each code of the first "
            "one or more levels"
        )
    center, spread = center_and_spread(vocabulary_embeddings)
    to_features = stream_rng(seed, "map_of_codewords").normal(size=(codewords.shape[1], len(center)))
    deviations = stream_rng(seed, "initial_embeddings").normal(size=(levels[-1].stop, len(center)))
    for level in levels:
        if level.stop <= len(codewords):
            deviations[level] = (codewords[level] - codewords[level].mean(axis=0, dtype=np.float64)) @ to_features
        deviations[level] *= spread / (_spread(deviations[level]) or 1.0)
    return (center + deviations).astype(np.float32)


def center_and_spread(embeddings: Rows) -> tuple[np.ndarray, float]:
    """Returns the mean `[E]` float64 of embeddings `[V, E]`, and their root mean square distance from the mean."""
    center = sum(rows.sum(axis=0, dtype=np.float64) for _, rows in in_blocks(embeddings)) / len(embeddings)
    squares = sum(np.square(rows - center).sum() for _, rows in in_blocks(embeddings))
    return center, float(np.sqrt(squares / len(embeddings)))


def tally(
    blocks: Iterable[tuple[np.ndarray, np.ndarray | None]], sizes: Sequence[int]
) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """Returns for each pair of tokens the number of items with both, and for each token the sum of its items' vectors.

    Args:
      blocks: for each block of n items, their Semantic IDs `[n, L]`, and their vectors `[n, E]` or None.
      sizes: the number of codes K of each level.

    Returns:
      Counts `[T, T]` sparse float64: entry (i, j) is the number of items with tokens i and j, and entry (i, i) the
      number of items with token i. Sums `[T, E]` float64; E = 0 without vectors.
    """
    total = sum(sizes)
    together, sums = scipy.sparse.csr_array((total, total)), np.zeros((total, 0))
    for semantic_ids, vectors in blocks:
        columns = semantic_ids.astype(np.int64) + [level.start for level in level_slices(sizes)]
        ends = np.arange(len(columns) + 1) * columns.shape[1]
        has = scipy.sparse.csr_array((np.ones(columns.size), columns.ravel(), ends), shape=(len(columns), total))
        together = together + has.T @ has
        if vectors is not None:
            part = has.T @ np.asarray(vectors, np.float64)
            sums = part if not sums.shape[1] else sums + part
    return together, sums


def level_slices(sizes: Sequence[int]) -> list[slice]:
    """Returns the slice of each level's tokens among all tokens."""
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _finite(semantic_ids: np.ndarray, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    finite = np.isfinite(embeddings).all(axis=1)
    return semantic_ids[finite], embeddings[finite]


def _remainder_means(
    together: scipy.sparse.csr_array, sums: np.ndarray, sizes: Sequence[int], num_content_levels: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each token the mean remainder of its items, `[T, E]`, and whether the token has content, `[T]`."""
    counts = together.diagonal()
    means = np.zeros_like(sums)
    remainders = sums - counts[:, None] * (sums[: sizes[0]].sum(axis=0) / max(counts[: sizes[0]].sum(), 1))
    is_content = np.zeros(len(sums), bool)
    for level in level_slices(sizes)[:num_content_levels]:
        is_content[level] = counts[level] > 0
        # An item's remainder at a level is its deviation minus the deviations of its tokens at earlier levels. In the
        # sum over a token's items, an earlier token's deviation is thus subtracted once per item with both tokens.
        left = remainders[level] - together[level, : level.start] @ means[: level.start]
        means[level] = left / np.maximum(counts[level], 1)[:, None]
    return means, is_content


def _spread(deviations: np.ndarray) -> float:
    """Returns the root mean square length of vectors `[n, E]`; 0 if n is 0."""
    return float(np.sqrt(np.square(deviations).sum(axis=1).mean())) if len(deviations) else 0.0
