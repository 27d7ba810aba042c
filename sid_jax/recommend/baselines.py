"""Baselines of a recommender: what is popular, what the same users take, what follows, and what is similar in content.

The constants of what is learned from users were chosen on the validation of Amazon Beauty and MovieLens-100K, one set
for both.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from sid_jax.data.histories import Histories, item_counts
from sid_jax.recommend.batch import HistoryBatch, history_shares
from sid_jax.recommend.data.transitions import transition_graph


class Popularity:
    """Recommends what was interacted with most often in training."""

    name = "popularity"

    def __init__(self, train: Histories):
        self._scores = item_counts(train)

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the most popular items, `[B, count]` int32: the same for everybody but for what is excluded."""
        return top_items(np.tile(self._scores, (len(batch.lengths), 1)), count, exclude)


def top_items(scores: np.ndarray, k: int, exclude: np.ndarray | None = None) -> np.ndarray:
    """Returns each row's items with the highest scores, ties to the lowest item.

    Args:
      scores: `[B, N]`; what scores 0 is not recommended. Overwritten where items are excluded.
      k: items in a list.
      exclude: `[B, S]` int32 items not to recommend, -1 for none.

    Returns:
      `[B, k]` int32, the best first, -1 where there are no more.
    """
    if exclude is not None:
        rows, columns = np.nonzero(exclude >= 0)
        scores[rows, exclude[rows, columns]] = 0
    num_items = scores.shape[1]
    size = min(k, num_items)
    # All that tie at the k-th place go on to the sort: a partition alone would keep any of them, not the lowest items.
    least = np.partition(scores, num_items - size, axis=1)[:, num_items - size, None]
    rows, items = np.nonzero((scores >= least) & (scores > 0))
    order = np.lexsort((items, -scores[rows, items], rows))
    rows, items = rows[order], items[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    listed = place < size
    lists = np.full((len(scores), k), -1, np.int32)
    lists[rows[listed], place[listed]] = items[listed]
    return lists


# Items whose neighbors are looked for at once, which bounds the memory.
_BLOCK_ITEMS = 512


class ItemKNN:
    """Recommends what is most similar to the items of a history.

    Args:
      train: U users of N items.
      num_neighbors: the most similar items that each item speaks for.
      shrinkage: as of `cosine_neighbors`.
      decay: how much less an item of the history counts than the one after it; 1: all count alike.
    """

    name = "item-kNN"

    def __init__(self, train: Histories, num_neighbors: int = 100, *, shrinkage: float = 0.0, decay: float = 1.0):
        self._similarities = cosine_neighbors(train, num_neighbors, shrinkage)
        self._decay = decay

    @classmethod
    def tuned(cls, train: Histories) -> ItemKNN:
        """Returns the baseline of all tables, which is far above that of plain cosines."""
        return cls(train, 1000, shrinkage=10.0, decay=0.6)

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the items with the highest sums of similarities to a history's items, repeated ones counted once.

        Args:
          batch: B histories.
          count: k.
          exclude: `[B, S]` int32 items not to recommend, -1 for none.

        Returns:
          `[B, k]` int32, ties to the lowest item, -1 where nothing more is similar to any item of the history.
        """
        return top_items(
            (_recent(batch, self._similarities.shape[0], self._decay) @ self._similarities).toarray(), count, exclude
        )


def _recent(batch: HistoryBatch, num_items: int, decay: float) -> sparse.csr_array:
    """Returns `[B, N]` weights of the items of histories: `decay` ** age, of repeated items that of the last."""
    items, lengths = np.asarray(batch.items), np.asarray(batch.lengths)[:, None]
    age = lengths - 1 - np.arange(items.shape[1])
    weights = np.where(age >= 0, float(decay) ** np.maximum(age, 0), 0.0)
    again = np.triu(items[:, :, None] == items[:, None, :], 1) & (age >= 0)[:, None, :]
    users, columns = np.nonzero((age >= 0) & ~again.any(axis=2))
    return sparse.csr_array((weights[users, columns], (users, items[users, columns])), shape=(len(items), num_items))


class Transitions:
    """Recommends what follows the items of a history: a graph of transitions, without any training.

    It follows TGH (An Embarrassingly Simple Graph Heuristic, 2605.07125), which takes what is one to three transitions
    from a history's last items, ordered by content and by counts of transitions. Here transitions alone count: those to
    items further on too, less with each place between, those back less, and those to popular items less; and all of the
    history counts, the last item most. A second step in the graph made no difference in validation.

    Args:
      train: U users of N items.
    """

    name = "transitions"
    # How much less a transition counts for each place between, and one that goes back.
    _GAP_DECAY, _BACK = 0.9, 0.6
    # What an item's number of interactions is raised to, before transitions from it and to it are divided by it.
    _FROM_POWER, _TO_POWER = 0.5, 0.3
    # How much less an item of the history counts than the one after it.
    _DECAY = 0.65

    def __init__(self, train: Histories):
        self._graph = transition_graph(
            train, gap_decay=self._GAP_DECAY, back=self._BACK, from_power=self._FROM_POWER, to_power=self._TO_POWER
        )

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the items with the highest sums, `[B, count]` int32, ties to the lowest; -1 where nothing follows."""
        scores = _recent(batch, self._graph.shape[0], self._DECAY) @ self._graph
        return top_items(scores.toarray(), count, exclude)


def cosine_neighbors(train: Histories, num_neighbors: int, shrinkage: float = 0.0) -> sparse.csr_array:
    """Returns the similarities of each item to its nearest neighbors.

    The similarity of two items is the cosine of their columns in the matrix of who interacted with what, which holds 1
    for any number of times: users of both / (sqrt(users of one * users of the other) + shrinkage).

    Args:
      train: U users of N items.
      num_neighbors: kept for each item; ties to the lowest item.
      shrinkage: in users; similarities that few users speak for become smaller.

    Returns:
      `[N, N]` float64: row i has the neighbors of item i, never i itself.
    """
    users = np.repeat(np.arange(len(train)), train.lengths)
    matrix = _binary_matrix(users, train.items, (len(train), len(train.item_ids)))
    num_users = np.bincount(matrix.indices, minlength=matrix.shape[1])
    by_item = matrix.T.tocsr()
    blocks = [
        _nearest(by_item[start : start + _BLOCK_ITEMS] @ matrix, start, num_users, num_neighbors, shrinkage)
        for start in range(0, len(num_users), _BLOCK_ITEMS)
    ]
    return sparse.vstack(blocks, format="csr")


def _nearest(
    shared: sparse.csr_array, first_item: int, num_users: np.ndarray, num_neighbors: int, shrinkage: float
) -> sparse.csr_array:
    """Returns the nearest neighbors of a block of items, from `[n, N]` numbers of users shared with each item."""
    table = shared.tocoo()
    others = table.row + first_item != table.col
    rows, columns, counts = table.row[others], table.col[others], table.data[others]
    # From whole numbers in one step, so that what is equal comes out equal, and ties are ties.
    similarities = counts / (np.sqrt(num_users[rows + first_item] * num_users[columns]) + shrinkage)
    order = np.lexsort((columns, -similarities, rows))
    rows, columns, similarities = rows[order], columns[order], similarities[order]
    near = np.arange(len(rows)) - np.searchsorted(rows, rows) < num_neighbors
    return sparse.csr_array((similarities[near], (rows[near], columns[near])), shape=shared.shape)


def _binary_matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    matrix = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


# How much less an item counts than the one after it. Chosen on the validation of Amazon Beauty, among the last item
# alone, the mean of 3, 5 and all, the nearest of 5 and all, and decays from .3 to .9, of which .5 to .8 are alike.
_DECAY = 0.7


class SemanticKNN:
    """Recommends the items whose vectors have the highest cosine with a mean of the history's, the last counting most.

    TIGER's baseline for cold items (Rajput et al., 2305.05065, section 4.3).

    Args:
      content: `[N, D]` float32 vectors of length 1.
      among: `[N]` bool, the items that may be recommended; None for all.
    """

    name = "semantic kNN"

    def __init__(self, content: np.ndarray, among: np.ndarray | None = None):
        self._content, self._among = content, among

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the nearest items, `[B, count]` int32, ties to the lowest; -1 where there are no more."""
        weights = np.asarray(history_shares(batch.lengths, batch.items.shape[1], _DECAY))
        asked = np.einsum("bw,bwd->bd", weights, self._content[np.asarray(batch.items)])
        # A mean of vectors of length 1 is no longer than they: what is added makes every score positive, since what
        # scores 0 is not recommended.
        scores = asked @ self._content.T + 2
        return top_items(scores if self._among is None else scores * self._among, count, exclude)
