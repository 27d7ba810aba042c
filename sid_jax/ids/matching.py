"""Who gets what when several want the same: deferred acceptance, vectorized over the items that ask."""

from __future__ import annotations

import numpy as np


def deferred_acceptance(wanted: np.ndarray, costs: np.ndarray, room: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Gives M items one place each, or none.

    Each asks for the cheapest place first, and for its next when it is sent away; a place keeps those of whom asks who
    would lose most by going on to their next (Gale and Shapley, College Admissions and the
    Stability of Marriage, 1962).
    The result does not depend on the order of the items.

    Args:
      wanted: `[M, C]` int64, names of places, each once in a row.
      costs: `[M, C]`, infinite for what cannot be had.
      room: `[M, C]`, how many items each place can take; a place is the same everywhere.
      rank: `[M]`, the lower one wins a tie.

    Returns:
      `[M]`, the column that each item got, or -1.
    """
    by_cost = np.argsort(costs, axis=1, kind="stable")
    costs = np.take_along_axis(costs, by_cost, axis=1)
    regrets = np.full(costs.shape, np.inf)
    np.subtract(costs[:, 1:], costs[:, :-1], out=regrets[:, :-1], where=np.isfinite(costs[:, :-1]))
    names, tuples = np.unique(np.take_along_axis(wanted, by_cost, axis=1), return_inverse=True)
    tuples = tuples.reshape(costs.shape)
    room_of = np.zeros(len(names), np.int64)
    room_of[tuples] = np.take_along_axis(room, by_cost, axis=1)

    last = np.isfinite(costs).sum(axis=1)
    asking = np.zeros(len(costs), np.int64)  # The place in its own order that each item asks for, or has.
    has = np.zeros(len(costs), bool)
    while True:
        free = np.flatnonzero(~has & (asking < last))
        if not len(free):
            return np.where(has, by_cost[np.arange(len(has)), np.minimum(asking, costs.shape[1] - 1)], -1)
        contested = np.zeros(len(names), bool)
        contested[tuples[free, asking[free]]] = True
        holding = np.flatnonzero(has)
        holding = holding[contested[tuples[holding, asking[holding]]]]
        items = np.concatenate([free, holding])
        asked = tuples[items, asking[items]]
        accepted = first_in_group(asked, regrets[items, asking[items]], rank[items], room_of[asked])
        has[items] = accepted
        asking[items[~accepted]] += 1


def first_in_group(groups: np.ndarray, weights: np.ndarray, rank: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns `[M]` bool: who is among the `counts` of its group with the highest weights, ties to the lower rank."""
    order = np.lexsort((rank, -weights, groups))
    in_order = groups[order]
    starts = np.flatnonzero(np.concatenate([[True], in_order[1:] != in_order[:-1]])) if len(order) else order
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    first = np.empty(len(order), bool)
    first[order] = place < counts[order]
    return first
