"""Vectors from who took what after what: what content cannot say of which items belong together."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from sid_jax.data.collaborative import truncated_svd
from sid_jax.data.histories import Histories
from sid_jax.errors import UserError

# Items of a history up to this far apart count as taken together, the further the less.
_WINDOW = 3
# Frequent contexts count for less than in proportion (Levy, Goldberg and Dagan, TACL 2015, section 3.1).
_CONTEXT_POWER = 0.75


def pair_counts(histories: Histories) -> sparse.csr_array:
    """Returns how often the N items are taken together: `[N, N]` float64, symmetric.

    Two items of one history count 1 / distance, as in GloVe, if they are at most three places apart.

    Raises:
      UserError: if nobody has two items.
    """
    users, items = np.repeat(np.arange(len(histories)), histories.lengths), histories.items
    num_items = len(histories.item_ids)
    counts = sparse.csr_array((num_items, num_items), dtype=np.float64)
    for distance in range(1, _WINDOW + 1):
        before, after = items[:-distance], items[distance:]
        pairs = (users[:-distance] == users[distance:]) & (before != after)
        weights = np.full(int(pairs.sum()), 1.0 / distance)
        counts = counts + sparse.csr_array((weights, (before[pairs], after[pairs])), shape=counts.shape)
    if not counts.nnz:
        raise UserError(
            "the histories have no two items of one user to learn from, without the last "
            "config.data.collaborative_holdout of each: give longer ones"
        )
    return counts + counts.T


def cooccurrence_vectors(counts: sparse.csr_array, dimension: int) -> np.ndarray:
    """Returns `[N, C]` float32 vectors of length 1 that are near for items which the same users take one after another.

    They are the truncated SVD of the positive pointwise mutual information of items and their neighbors in histories,
    `U sqrt(S)` (Levy and Goldberg, Neural Word Embedding as Implicit Matrix Factorization, NIPS 2014, sections 3.3 and
    4.2). An item without neighbors has a vector of zeros.

    Args:
      counts: `[N, N]` from `pair_counts`.
      dimension: C, below N.

    Raises:
      UserError: if the dimension is out of its range.
    """
    information = _positive_information(counts)
    vectors = truncated_svd(information, dimension)
    # Its rows are U S: the length of a column is its singular value.
    vectors /= np.sqrt(np.maximum(np.linalg.norm(vectors, axis=0), np.finfo(np.float32).tiny))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def _positive_information(counts: sparse.csr_array) -> sparse.csr_array:
    """Returns log P(i, j) / (P(i) P(j)) where it is above 0, with the context's probability raised to a power."""
    totals = counts.sum(axis=1)
    contexts = totals**_CONTEXT_POWER
    pairs = counts.tocoo()
    rows, columns = pairs.coords
    information = np.log(pairs.data / totals[rows] * contexts.sum() / contexts[columns])
    kept = information > 0
    return sparse.csr_array((information[kept], (rows[kept], columns[kept])), shape=counts.shape)


def join_cooccurrences(
    vectors: np.ndarray, cooccurrences: np.ndarray, weight: float, fitted: np.ndarray | None = None
) -> np.ndarray:
    """Returns `[N, D + C]` float32: the vectors, and beside them the co-occurrence vectors, scaled.

    An item without co-occurrences gets the others' mean there, which tells it from none of them.

    Args:
      vectors: `[N, D]` float32.
      cooccurrences: `[N, C]` float32, zeros for an item that has none.
      weight: the second part's variance over the first's.
      fitted: `[N]` bool, the items that variances and means are taken of; None for all.
    """
    fitted = np.ones(len(vectors), bool) if fitted is None else fitted
    known: np.ndarray = np.any(cooccurrences, axis=1)
    filled = np.where(known[:, None], cooccurrences, cooccurrences[known & fitted].mean(axis=0))
    spread = _variance(filled[fitted])
    scale = np.sqrt(weight * _variance(vectors[fitted]) / spread) if spread else 0.0
    return np.concatenate([vectors, scale * filled], axis=1).astype(np.float32)


def _variance(vectors: np.ndarray) -> float:
    return float(vectors.var(axis=0, dtype=np.float64).sum())
