"""The baseline of neighbors: items that the same users have (Sarwar et al., 2001; Deshpande and Karypis, 2004)."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from sid_jax.data.histories import Histories
from sid_jax.recommend.baselines.popularity import top_items
from sid_jax.recommend.batch import HistoryBatch

# Items whose neighbors are looked for at once, which bounds the memory.
_BLOCK_ITEMS = 512


class ItemKNN:
    """Recommends what is most similar to the items of a history.

    Args:
      train: U users of N items.
      num_neighbors: the most similar items that each item speaks for.
    """

    name = "item-kNN"

    def __init__(self, train: Histories, num_neighbors: int = 100):
        self._similarities = cosine_neighbors(train, num_neighbors)

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the items with the highest sums of similarities to a history's items, repeated ones counted once.

        Args:
          batch: B histories.
          count: k.
          exclude: `[B, S]` int32 items not to recommend, -1 for none.

        Returns:
          `[B, k]` int32, ties to the lowest item, -1 where nothing more is similar to any item of the history.
        """
        items = np.asarray(batch.items)
        users, columns = np.nonzero(np.arange(items.shape[1]) < np.asarray(batch.lengths)[:, None])
        seen = _binary_matrix(users, items[users, columns], (len(items), self._similarities.shape[0]))
        return top_items((seen @ self._similarities).toarray(), count, exclude)


def cosine_neighbors(train: Histories, num_neighbors: int) -> sparse.csr_array:
    """Returns the similarities of each item to its nearest neighbors.

    The similarity of two items is the cosine of their columns in the matrix of who interacted with what, which holds 1
    for any number of times: users of both / sqrt(users of one * users of the other).

    Args:
      train: U users of N items.
      num_neighbors: kept for each item; ties to the lowest item.

    Returns:
      `[N, N]` float64: row i has the neighbors of item i, never i itself.
    """
    users = np.repeat(np.arange(len(train)), train.lengths)
    matrix = _binary_matrix(users, train.items, (len(train), len(train.item_ids)))
    num_users = np.bincount(matrix.indices, minlength=matrix.shape[1])
    by_item = matrix.T.tocsr()
    blocks = [
        _nearest(by_item[start : start + _BLOCK_ITEMS] @ matrix, start, num_users, num_neighbors)
        for start in range(0, len(num_users), _BLOCK_ITEMS)
    ]
    return sparse.vstack(blocks, format="csr")


def _nearest(shared: sparse.csr_array, first_item: int, num_users: np.ndarray, num_neighbors: int) -> sparse.csr_array:
    """Returns the nearest neighbors of a block of items, from `[n, N]` numbers of users shared with each item."""
    table = shared.tocoo()
    others = table.row + first_item != table.col
    rows, columns, counts = table.row[others], table.col[others], table.data[others]
    # From whole numbers in one step, so that what is equal comes out equal, and ties are ties.
    similarities = counts / np.sqrt(num_users[rows + first_item] * num_users[columns])
    order = np.lexsort((columns, -similarities, rows))
    rows, columns, similarities = rows[order], columns[order], similarities[order]
    near = np.arange(len(rows)) - np.searchsorted(rows, rows) < num_neighbors
    return sparse.csr_array((similarities[near], (rows[near], columns[near])), shape=shared.shape)


def _binary_matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    matrix = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
