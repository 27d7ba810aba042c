"""Matchings: which items get which Semantic IDs, and which numbers of a new model's codes mean what old ones meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sid_jax.data.id_lists import likely_cause
from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable
from sid_jax.messages import LOGGER


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
    # Here, since it takes longer to import than everything else that loading an ID table does.
    from scipy.optimize import linear_sum_assignment

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


def find_alignment(
    to: IdTable, rows: np.ndarray, codes: np.ndarray, sizes: Sequence[int], unknown: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns how a new model's codes `[n, L]`, of K `sizes`, are renumbered to be like old IDs of the same items.

    Args:
      to: the old IDs.
      rows: `[n]`, the rows of these items in them.
      unknown: ids of new items that the old IDs lack, some or all: a warning says where they only seem to be new.

    Returns:
      The manifest's section on it: "to", the name of the old IDs; "num_common", n; and "orders", as lists what
      `best_orders` gives. Raises UserError if there are no such items.
    """
    cause = likely_cause(unknown, rows, to.item_ids) if unknown else ""
    if not len(rows):
        raise UserError(
            f"--align_to: no item is in {to.name} too, so that nothing says which codes belong together; {cause}"
        )
    if cause:
        LOGGER.warning("--align_to: items that %s lacks may only be named otherwise: %s", to.name, cause)
    levels = min(len(sizes), to.semantic_ids.shape[1])
    orders = best_orders(to.semantic_ids[rows, :levels], codes[:, :levels], sizes[:levels])
    orders += [np.arange(size) for size in sizes[levels:]]
    return {"to": to.name, "num_common": len(rows), "orders": [order.tolist() for order in orders]}
