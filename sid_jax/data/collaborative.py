"""Computes collaborative vectors from ratings, and co-occurrence vectors from histories, by truncated SVDs."""

from __future__ import annotations

import numpy as np
import scipy

from sid_jax.data.catalogs.movielens.tables import MovieLens, Table
from sid_jax.data.histories import Histories
from sid_jax.errors import UserError
from sid_jax.one_thread import one_blas_thread

# Items up to this many positions apart in a history count as co-occurring, with a weight of 1 / distance.
_WINDOW = 3
# In the pointwise mutual information, the probability of a neighbor item is proportional to its count raised to this
# power. A power below 1 lowers the mutual information with rare neighbors (Levy, Goldberg and Dagan, TACL 2015, section
# 3.1).
_CONTEXT_POWER = 0.75
# Maximum number of rows and of columns of a matrix for a dense SVD, which takes a minute at this size.
_LARGEST_DENSE = 4096


def collaborative_vectors(catalog: MovieLens, *, view: str, dimension: int, holdout: int) -> np.ndarray:
    """Returns `[N, D]` float32 vectors of the movies (view "item") or users (view "user").

    Args:
      catalog: the movies, the users, and the ratings, which form a matrix. A missing rating is 0.
      view: "item" or "user"; the rows of the matrix are movies or users accordingly.
      dimension: D, less than the number of movies and less than the number of users.
      holdout: number of each user's last ratings that are excluded. With a leave-one-out split, the last rating is the
        test target and the second-to-last rating is the validation target. Vectors that include these ratings would
        leak the targets.

    Raises:
      UserError: if the dimension or the holdout does not fit the data.
    """
    ratings = leave_out_last(catalog.ratings, holdout)
    matrix = _rating_matrix(catalog, ratings)
    return truncated_svd(matrix if view == "item" else matrix.T.tocsr(), dimension)


def leave_out_last(ratings: Table, holdout: int) -> Table:
    """Returns the ratings without each user's last `holdout` rows.

    Args:
      ratings: columns `[R]`, sorted by user and time.
      holdout: 0 or more.

    Raises:
      UserError: if `holdout` is negative, or no ratings are left.
    """
    users = ratings["user_id"]
    ends = np.searchsorted(users, users, side="right")
    kept = np.arange(len(users)) < ends - holdout
    if holdout < 0 or not kept.any():
        raise UserError(
            f"config.data.collaborative_holdout={holdout} leaves no ratings; set a smaller number, 0 or more"
        )
    return {name: column[kept] for name, column in ratings.items()}


def truncated_svd(matrix: scipy.sparse.csr_array, dimension: int) -> np.ndarray:
    """Returns U S of the truncated SVD, the best rank-D approximation of the matrix (Eckart and Young, 1936).

    Args:
      matrix: `[N, M]`.
      dimension: D, from 1 to min(N, M) - 1.

    Returns:
      `[N, D]` float32, in descending order of the singular values. The sign of a singular vector is arbitrary; it is
      chosen so that the entry with the largest absolute value is positive. Rows that are all 0 stay 0.

    Raises:
      UserError: if the dimension is out of its range, or the SVD of a large matrix does not converge.
    """
    smaller_side = min(matrix.shape)
    if not 1 <= dimension < smaller_side:
        raise UserError(
            f"config.data.collaborative_dimension={dimension} is not possible for this catalog; set a number from 1 "
            f"to {smaller_side - 1}"
        )
    with one_blas_thread():
        left, singular_values = _largest_singular(matrix.astype(np.float64), dimension)
    order = np.argsort(-singular_values, kind="stable")
    rows = (left * singular_values)[:, order]
    largest = rows[np.abs(rows).argmax(axis=0), np.arange(dimension)]
    return (rows * np.where(largest < 0, -1.0, 1.0)).astype(np.float32)


def _largest_singular(matrix: scipy.sparse.csr_array, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the left singular vectors `[N, D]` of the D largest singular values, and these values, in any order.

    ARPACK can fail if many singular values are equal, for example with disjoint histories of equal length. If it fails,
    a small matrix gets a dense SVD.
    """
    # With a fixed start vector, the result is bit for bit the same in each run.
    start = np.random.default_rng(0).standard_normal(min(matrix.shape))
    try:
        left, values, _ = scipy.sparse.linalg.svds(matrix, k=dimension, v0=start)
    except scipy.sparse.linalg.ArpackError as error:
        if max(matrix.shape) > _LARGEST_DENSE:
            raise UserError(
                f"the truncated SVD does not converge with config.data.collaborative_dimension={dimension}; set "
                "another number"
            ) from error
        left, values, _ = np.linalg.svd(matrix.toarray(), full_matrices=False)
        left, values = left[:, :dimension], values[:dimension]
    return left, values


def join_side_by_side(parts: list[np.ndarray]) -> np.ndarray:
    """Returns the concatenation `[N, D1 + D2 + ...]` float32 of parts, each first scaled to a mean squared length of 1.

    The scales of text vectors and of singular vectors are unrelated. Without scaling, distances would depend almost
    only on the part with the larger numbers.

    Args:
      parts: arrays `[N, Di]`, each with at least one value that is not 0.
    """
    return np.concatenate([part / np.sqrt(np.mean(np.sum(part**2, axis=1))) for part in parts], axis=1)


def _rating_matrix(catalog: MovieLens, ratings: Table) -> scipy.sparse.csr_array:
    item_ids, user_ids = catalog.items["item_id"], catalog.users["user_id"]
    rows = np.searchsorted(item_ids, ratings["item_id"])
    columns = np.searchsorted(user_ids, ratings["user_id"])
    shape = (len(item_ids), len(user_ids))
    return scipy.sparse.coo_array((ratings["rating"].astype(np.float64), (rows, columns)), shape=shape).tocsr()


def pair_counts(histories: Histories, removed: str = "") -> scipy.sparse.csr_array:
    """Returns co-occurrence counts of the N items in histories: `[N, N]` float64, symmetric.

    Each time that two different items are at most three positions apart in a history, their count grows by
    1 / distance, as in GloVe.

    Args:
      histories: the histories.
      removed: text that says which interactions were removed before the call, for the error message; optional.

    Raises:
      UserError: if no user has two different items at most three positions apart.
    """
    users, items = np.repeat(np.arange(len(histories)), histories.lengths), histories.items
    num_items = len(histories.item_ids)
    counts = scipy.sparse.csr_array((num_items, num_items), dtype=np.float64)
    for distance in range(1, _WINDOW + 1):
        before, after = items[:-distance], items[distance:]
        pairs = (users[:-distance] == users[distance:]) & (before != after)
        weights = np.full(int(pairs.sum()), 1.0 / distance)
        counts = counts + scipy.sparse.csr_array((weights, (before[pairs], after[pairs])), shape=counts.shape)
    if not counts.nnz:
        raise UserError(
            f"no history has two different items at most {_WINDOW} positions apart{removed}; give longer histories"
        )
    return counts + counts.T


def cooccurrence_vectors(counts: scipy.sparse.csr_array, dimension: int) -> np.ndarray:
    """Returns `[N, C]` float32 vectors of length 1, which are similar for items that co-occur in histories.

    The vectors are the rows of `U sqrt(S)`, scaled to length 1. `U S V^T` is the truncated SVD of the positive
    pointwise mutual information of items and their neighbors in histories (Levy and Goldberg, Neural Word Embedding as
    Implicit Matrix Factorization, NIPS 2014, sections 3.3 and 4.2). An item without neighbors has a vector of zeros.

    Args:
      counts: `[N, N]` from `pair_counts`.
      dimension: C, below N.

    Raises:
      UserError: see `truncated_svd`.
    """
    information = _positive_information(counts)
    vectors = truncated_svd(information, dimension)
    # `truncated_svd` returns U S. The norm of a column is its singular value, so this division gives U sqrt(S).
    vectors /= np.sqrt(np.maximum(np.linalg.norm(vectors, axis=0), np.finfo(np.float32).tiny))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def _positive_information(counts: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """Returns max(0, log(P(i, j) / (P(i) P(j)))), the positive pointwise mutual information of items and contexts.

    The contexts j are items, too. To compute P(j), the count of each context is raised to the power `_CONTEXT_POWER`.
    """
    totals = counts.sum(axis=1)
    contexts = totals**_CONTEXT_POWER
    pairs = counts.tocoo()
    rows, columns = pairs.coords
    information = np.log(pairs.data / totals[rows] * contexts.sum() / contexts[columns])
    kept = information > 0
    return scipy.sparse.csr_array((information[kept], (rows[kept], columns[kept])), shape=counts.shape)
