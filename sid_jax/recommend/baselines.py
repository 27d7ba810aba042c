"""Baseline recommenders: popularity, item-kNN, transitions between items, and content similarity.

The constants of item-kNN and transitions were chosen on the validation data of Amazon Beauty and MovieLens-100K. The
same constants are used for all data sets.
"""

from __future__ import annotations

import numpy as np
import scipy

from sid_jax.data.histories import Histories, item_counts
from sid_jax.recommend.batch import HistoryBatch, history_shares
from sid_jax.recommend.data.transitions import transition_graph


class Popularity:
    """Recommends the items with the most interactions in training."""

    name = "popularity"

    def __init__(self, train: Histories):
        self._scores = item_counts(train)

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the most popular items that are not excluded, `[B, count]` int32, padded with -1."""
        return top_items(np.tile(self._scores, (len(batch.lengths), 1)), count, exclude)


def top_items(scores: np.ndarray, k: int, exclude: np.ndarray | None = None) -> np.ndarray:
    """Returns the items with the highest scores in each row. Tied items are in the order of their indices.

    Args:
      scores: `[B, N]`; items with score 0 are not recommended. The scores of excluded items are set to 0 in place.
      k: number of items per list.
      exclude: `[B, S]` int32 items not to recommend, padded with -1.

    Returns:
      `[B, k]` int32, the best first, -1 where there are no more.
    """
    if exclude is not None:
        rows, columns = np.nonzero(exclude >= 0)
        scores[rows, exclude[rows, columns]] = 0
    num_items = scores.shape[1]
    size = min(k, num_items)
    # All items that tie at rank k are sorted, since a partition alone would select an arbitrary subset of them.
    least = np.partition(scores, num_items - size, axis=1)[:, num_items - size, None]
    rows, items = np.nonzero((scores >= least) & (scores > 0))
    order = np.lexsort((items, -scores[rows, items], rows))
    rows, items = rows[order], items[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    listed = place < size
    lists = np.full((len(scores), k), -1, np.int32)
    lists[rows[listed], place[listed]] = items[listed]
    return lists


# Number of items whose neighbors are computed together, which limits memory.
_BLOCK_ITEMS = 512


class ItemKNN:
    """Recommends the items that are most similar to the items of a history.

    Two items are similar if many users interacted with both of them.

    Args:
      train: the histories of U users over N items.
      num_neighbors: number of most similar items kept for each item.
      shrinkage: see `cosine_neighbors`.
      decay: the weight of an item of the history, relative to the weight of the item after it; 1 weighs all items
        equally.
    """

    name = "item-kNN"

    def __init__(self, train: Histories, num_neighbors: int = 100, *, shrinkage: float = 0.0, decay: float = 1.0):
        self._similarities = cosine_neighbors(train, num_neighbors, shrinkage)
        self._decay = decay

    @classmethod
    def tuned(cls, train: Histories) -> ItemKNN:
        """Returns item-kNN with tuned parameters, as in all result tables.

        The defaults, plain cosines without shrinkage or decay, give far worse results.
        """
        return cls(train, 1000, shrinkage=10.0, decay=0.6)

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the items with the highest weighted sums of similarities to a history's items.

        A repeated item of the history counts once.

        Args:
          batch: B histories.
          count: k, the length of a list.
          exclude: `[B, S]` int32 items not to recommend, padded with -1.

        Returns:
          `[B, k]` int32, the best first. A list is padded with -1 if fewer than k items are similar to an item of the
          history.
        """
        return top_items(
            (_recent(batch, self._similarities.shape[0], self._decay) @ self._similarities).toarray(), count, exclude
        )


def _recent(batch: HistoryBatch, num_items: int, decay: float) -> scipy.sparse.csr_array:
    """Returns the weights of each history's items, `[B, N]`: `decay` ** age, where the last item has age 0.

    A repeated item has the weight of its last occurrence.
    """
    items, lengths = np.asarray(batch.items), np.asarray(batch.lengths)[:, None]
    age = lengths - 1 - np.arange(items.shape[1])
    weights = np.where(age >= 0, float(decay) ** np.maximum(age, 0), 0.0)
    again = np.triu(items[:, :, None] == items[:, None, :], 1) & (age >= 0)[:, None, :]
    users, columns = np.nonzero((age >= 0) & ~again.any(axis=2))
    return scipy.sparse.csr_array(
        (weights[users, columns], (users, items[users, columns])), shape=(len(items), num_items)
    )


class Transitions:
    """Recommends the items that most often follow the items of a history. No model is trained.

    This is a variant of TGH (An Embarrassingly Simple Graph Heuristic, 2605.07125). TGH recommends the items that are
    one to three transitions from a history's last items, ordered by content and by transition counts. Here the order
    depends on transitions alone. Transitions to items after the next one count too, with a weight that falls with the
    distance. Backward transitions, and transitions from or to popular items, have a lower weight. All items of the
    history have an influence, which is greatest for the last item. Adding paths of two transitions made no difference
    in validation.

    Args:
      train: the histories of U users over N items.
    """

    name = "transitions"
    # Factors on a transition's weight. `_GAP_DECAY` applies once for each item between the two items. `_BACK` applies
    # to backward transitions.
    _GAP_DECAY, _BACK = 0.9, 0.6
    # A transition's weight is divided by powers of the interaction counts of its first and its second item. These are
    # the two exponents.
    _FROM_POWER, _TO_POWER = 0.5, 0.3
    # Weight of an item of the history, relative to the weight of the item after it.
    _DECAY = 0.65

    def __init__(self, train: Histories):
        self._graph = transition_graph(
            train, gap_decay=self._GAP_DECAY, back=self._BACK, from_power=self._FROM_POWER, to_power=self._TO_POWER
        )

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the items with the highest scores, `[B, count]` int32, padded with -1.

        An item's score is the weighted sum of the strengths of its transitions from the history's items.
        """
        scores = _recent(batch, self._graph.shape[0], self._DECAY) @ self._graph
        return top_items(scores.toarray(), count, exclude)


def cosine_neighbors(train: Histories, num_neighbors: int, shrinkage: float = 0.0) -> scipy.sparse.csr_array:
    """Returns the similarities of each item to its nearest neighbors.

    The similarity of two items is the cosine of their columns in the binary user-item matrix, with shrinkage:
    n_ij / (sqrt(n_i * n_j) + shrinkage), where n_i users interacted with item i, and n_ij users with both items.

    Args:
      train: the histories of U users over N items.
      num_neighbors: neighbors kept for each item; of tied neighbors, those with lower indices are kept.
      shrinkage: number of users that is added to the denominator; it lowers similarities that are based on few users.

    Returns:
      `[N, N]` float64: row i holds the neighbors of item i, never i itself.
    """
    users = np.repeat(np.arange(len(train)), train.lengths)
    matrix = _binary_matrix(users, train.items, (len(train), len(train.item_ids)))
    num_users = np.bincount(matrix.indices, minlength=matrix.shape[1])
    by_item = matrix.T.tocsr()
    blocks = [
        _nearest(by_item[start : start + _BLOCK_ITEMS] @ matrix, start, num_users, num_neighbors, shrinkage)
        for start in range(0, len(num_users), _BLOCK_ITEMS)
    ]
    return scipy.sparse.vstack(blocks, format="csr")


def _nearest(
    shared: scipy.sparse.csr_array, first_item: int, num_users: np.ndarray, num_neighbors: int, shrinkage: float
) -> scipy.sparse.csr_array:
    """Returns the similarities `[n, N]` of n items, from `first_item` on, to their nearest neighbors.

    `shared` `[n, N]` is the number of users that each of the n items has in common with each of the N items.
    """
    table = shared.tocoo()
    others = table.row + first_item != table.col
    rows, columns, counts = table.row[others], table.col[others], table.data[others]
    # The similarities are computed from integers in one step, so items with equal counts have exactly equal
    # similarities, and these ties are detected.
    similarities = counts / (np.sqrt(num_users[rows + first_item] * num_users[columns]) + shrinkage)
    order = np.lexsort((columns, -similarities, rows))
    rows, columns, similarities = rows[order], columns[order], similarities[order]
    near = np.arange(len(rows)) - np.searchsorted(rows, rows) < num_neighbors
    return scipy.sparse.csr_array((similarities[near], (rows[near], columns[near])), shape=shared.shape)


def _binary_matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> scipy.sparse.csr_array:
    matrix = scipy.sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


# Weight of an item of the history, relative to the weight of the item after it. This decay was chosen on the validation
# data of Amazon Beauty, where decays from .5 to .8 give about the same results. Rejected alternatives: lower decays,
# down to .3; higher decays, up to .9; the last item alone; the mean of the last 3, the last 5 or all items; the highest
# cosine with any of the last 5 items; the highest cosine with any item of the history.
_DECAY = 0.7


class SemanticKNN:
    """Recommends the items whose vectors have the highest cosine with a weighted mean of the history's vectors.

    The last item of the history has the highest weight.

    This is TIGER's baseline for cold items (Rajput et al., 2305.05065, section 4.3).

    Args:
      content: `[N, D]` float32 vectors of length 1.
      among: `[N]` bool, the items that may be recommended; None for all.
    """

    name = "semantic kNN"

    def __init__(self, content: np.ndarray, among: np.ndarray | None = None):
        self._content, self._among = content, among

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the nearest items, `[B, count]` int32, -1 where there are no more."""
        weights = np.asarray(history_shares(batch.lengths, batch.items.shape[1], _DECAY))
        asked = np.einsum("bw,bwd->bd", weights, self._content[np.asarray(batch.items)])
        # `top_items` does not recommend items with score 0. The mean of unit vectors has at most length 1, so adding 2
        # makes the score of every item positive.
        scores = asked @ self._content.T + 2
        return top_items(scores if self._among is None else scores * self._among, count, exclude)
