"""How good recommendations are: lists of items, counted at item level over the whole catalog."""

from __future__ import annotations

import numpy as np

# The longest list that a summary asks for.
_LONGEST = 10


def ranks(lists: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns where each user's target is in the user's list.

    Args:
      lists: `[U, k]` int32 rows of items, the best first, -1 for none.
      targets: `[U]` int32.

    Returns:
      `[U]` int32, counted from 1; 0 if the target is not in the list.

    Raises:
      ValueError: if an item is in a list twice, so that one recommendation would count as two.
    """
    _refuse_repetitions(lists)
    hits = (lists == targets[:, None]) & (lists >= 0)
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0).astype(np.int32)


def recall_at(ranks: np.ndarray, k: int) -> np.ndarray:
    """Returns `[U]` float64: 1 if the target is among the first k, or else 0. With one target it is the hit rate."""
    return _within(ranks, k).astype(np.float64)


def ndcg_at(ranks: np.ndarray, k: int) -> np.ndarray:
    """Returns `[U]` float64: 1 / log2(rank + 1) among the first k, or else 0.

    With one target the ideal gain is 1, and so is the divisor (Järvelin and Kekäläinen, 2002).
    """
    return np.where(_within(ranks, k), 1 / np.log2(np.maximum(ranks, 1) + 1), 0.0)


def reciprocal_rank(ranks: np.ndarray) -> np.ndarray:
    """Returns `[U]` float64: 1 / rank, or 0 if the target is not in the list."""
    return np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0.0)


def coverage(lists: np.ndarray, num_items: int) -> float:
    """Returns the share of `num_items` items that are in anyone's list; `lists` is `[U, k]`, -1 for none."""
    return len(np.unique(lists[lists >= 0])) / num_items


def entropy(lists: np.ndarray) -> float:
    """Returns the Shannon entropy, in bits, of the items that fill the lists `[U, k]`, -1 for none.

    It is 0 if all places hold one item, and log2(n) if n items fill equally many places each.
    """
    _, counts = np.unique(lists[lists >= 0], return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # Never -0.0.


def summary(lists: np.ndarray, targets: np.ndarray, num_items: int) -> dict[str, float]:
    """Returns the means over users, and what the lists are like together.

    Args:
      lists: `[U, k]` int32 rows of items, the best first, -1 for none; k is 10 or more.
      targets: `[U]` int32.
      num_items: N, the size of the catalog.

    Returns:
      recall@5, recall@10, ndcg@5, ndcg@10, mrr (over all k places), coverage@10 and entropy@10.

    Raises:
      ValueError: if there is no user, the lists are too short, or an item is in a list twice.
    """
    if not len(lists) or lists.shape[1] < _LONGEST:
        raise ValueError(f"lists must be [U, k] with k from {_LONGEST} on, not {list(lists.shape)}")
    places = ranks(lists, targets)
    return {
        **{f"recall@{k}": float(recall_at(places, k).mean()) for k in (5, 10)},
        **{f"ndcg@{k}": float(ndcg_at(places, k).mean()) for k in (5, 10)},
        "mrr": float(reciprocal_rank(places).mean()),
        "coverage@10": coverage(lists[:, :10], num_items),
        "entropy@10": entropy(lists[:, :10]),
    }


def _within(ranks: np.ndarray, k: int) -> np.ndarray:
    return (ranks > 0) & (ranks <= k)


def _refuse_repetitions(lists: np.ndarray) -> None:
    in_order = np.sort(lists, axis=1)
    twice = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)
    if twice.any():
        row = int(twice.any(axis=1).argmax())
        raise ValueError(
            f"list {row} has item {in_order[row, 1:][twice[row]][0]} more than once: {lists[row].tolist()}"
        )
