"""Codes have no order: which numbers of a newly learned level mean what numbers of an old one meant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment


def best_orders(old: np.ndarray, new: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Returns how to renumber new codes so that as many items as can be have the codes that they had.

    It is done level by level. At the first, the numbers of old and new codes are matched one to one so that the most
    items agree (Kuhn, The Hungarian Method for the Assignment Problem, 1955). A code of a deeper level says what is
    left by the ones before it: it is matched by the items alone whose codes before it agree (by all, if none do). There
    is one renumbering a level, since all prefixes share a level's codebook.

    Args:
      old: `[N, L]` codes that the items had; one that is not below the new K has no counterpart.
      new: `[N, L]` codes that they have now.
      sizes: K of each level of the new codes.

    Returns:
      For each level `[K]`, a permutation: number k goes to what is code `order[k]` now.
    """
    agree, orders = np.ones(len(new), bool), []
    for level, size in enumerate(sizes):
        matched = np.flatnonzero(agree) if agree.any() else np.arange(len(new))
        matched = matched[old[matched, level] < size]
        together = np.zeros((size, size), np.int64)
        np.add.at(together, (old[matched, level], new[matched, level]), 1)
        # Of matchings that are as good, one that leaves numbers as they are.
        weights = together * (size + 1) + np.eye(size, dtype=np.int64)
        orders.append(linear_sum_assignment(weights, maximize=True)[1].astype(np.int64))
        agree &= renumbered(new[:, level : level + 1], orders[-1:])[:, 0] == old[:, level]
    return orders


def renumbered(codes: np.ndarray, orders: Sequence[np.ndarray]) -> np.ndarray:
    """Returns codes `[N, L]` under the numbers that permutations of `best_orders` give them; int32."""
    columns = []
    for level, order in zip(codes.T, orders, strict=True):
        number = np.empty(len(order), np.int32)
        number[order] = np.arange(len(order))
        columns.append(number[level])
    return np.stack(columns, axis=1)
