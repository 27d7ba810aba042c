"""Matches items to free Semantic IDs, and code numbers of a new model to code numbers of an old model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sid_jax.data.id_lists import likely_cause
from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable
from sid_jax.messages import LOGGER


def deferred_acceptance(wanted: np.ndarray, costs: np.ndarray, room: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Assigns each of M items to at most one place, which is an ID or a first code, by deferred acceptance.

    Each item applies to its cheapest place first, and to its next cheapest place when it is rejected. If a place has
    more applicants than its capacity, it accepts the applicants for whom the next place would add the most cost (Gale
    and Shapley, College Admissions and the Stability of Marriage, 1962). The result does not depend on the order of the
    items.

    Args:
      wanted: `[M, C]` int64, the keys of each item's C possible places, distinct within a row.
      costs: `[M, C]`, infinite where an item cannot have the place.
      room: `[M, C]`, capacity of each place; equal wherever the place occurs.
      rank: `[M]`; the lower rank wins a tie.

    Returns:
      `[M]`, the column in `wanted` of each item's place; -1 for an item without a place.
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
    # For each item, the column in `costs` of the place to which it currently applies; column 0 is the cheapest place.
    asking = np.zeros(len(costs), np.int64)
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
    """Returns a mask `[M]` bool of the elements with the highest weights in each group; the lower rank wins a tie.

    `counts` `[M]` has, for each element, the number of elements to choose from its group.
    """
    order = np.lexsort((rank, -weights, groups))
    in_order = groups[order]
    starts = np.flatnonzero(np.concatenate([[True], in_order[1:] != in_order[:-1]])) if len(order) else order
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    first = np.empty(len(order), bool)
    first[order] = place < counts[order]
    return first


def best_orders(old: np.ndarray, new: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Returns the renumbering of new codes with which the most items keep their old codes, level by level.

    At the first level, old and new codes are matched one to one so that the most items agree (Kuhn, The Hungarian
    Method for the Assignment Problem, 1955). At a deeper level, codes quantize the residual of the earlier codes. The
    codes of a deeper level are therefore matched using only the items whose earlier codes agree. If there are no such
    items, all items are used. There is one renumbering per level, since all prefixes share a level's codebook.

    Args:
      old: `[N, L]`, the items' old codes. Old codes that are K or more are ignored, since no new code equals them.
      new: `[N, L]`, the items' new codes.
      sizes: the number of codes K of each level of the new model.

    Returns:
      For each level a permutation `[K]`: the new code `order[k]` gets the number k.
    """
    # SciPy is imported here, since its import takes longer than all imports that are needed to load an ID table.
    from scipy.optimize import linear_sum_assignment

    agree, orders = np.ones(len(new), bool), []
    for level, size in enumerate(sizes):
        matched = np.flatnonzero(agree) if agree.any() else np.arange(len(new))
        matched = matched[old[matched, level] < size]
        together = np.zeros((size, size), np.int64)
        np.add.at(together, (old[matched, level], new[matched, level]), 1)
        # The identity matrix breaks ties in favor of unchanged numbers.
        weights = together * (size + 1) + np.eye(size, dtype=np.int64)
        orders.append(linear_sum_assignment(weights, maximize=True)[1].astype(np.int64))
        agree &= renumbered(new[:, level : level + 1], orders[-1:])[:, 0] == old[:, level]
    return orders


def renumbered(codes: np.ndarray, orders: Sequence[np.ndarray]) -> np.ndarray:
    """Returns codes `[N, L]` int32, renumbered by the permutations of `best_orders`."""
    columns = []
    for level, order in zip(codes.T, orders, strict=True):
        number = np.empty(len(order), np.int32)
        number[order] = np.arange(len(order))
        columns.append(number[level])
    return np.stack(columns, axis=1)


def find_alignment(
    to: IdTable, rows: np.ndarray, codes: np.ndarray, sizes: Sequence[int], unknown: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns the renumbering of a new model's codes that agrees best with the old IDs of the same items.

    Args:
      to: the table of the old IDs.
      rows: `[n]`, the rows of the common items in the old table.
      codes: `[n, L]`, the new codes of these items.
      sizes: the number of codes K of each level of the new model.
      unknown: ids that the old table lacks; the list may be incomplete. If the old table seems to have the same items
        under different ids, a warning is logged.

    Returns:
      The manifest's section on the renumbering: "to", the name of the old table; "num_common", n; and "orders", the
      result of `best_orders` as lists.

    Raises:
      UserError: if there are no common items.
    """
    cause = likely_cause(unknown, rows, to.item_ids) if unknown else ""
    if not len(rows):
        remedy = "give the IDs of an older model of the same catalog"
        raise UserError(
            f"--align_to: no item of the export is in {to.name}, so codes cannot be matched; {cause or remedy}"
        )
    if cause:
        LOGGER.warning("--align_to: items that are not in %s may have different ids there: %s", to.name, cause)
    levels = min(len(sizes), to.semantic_ids.shape[1])
    orders = best_orders(to.semantic_ids[rows, :levels], codes[:, :levels], sizes[:levels])
    orders += [np.arange(size) for size in sizes[levels:]]
    return {"to": to.name, "num_common": len(rows), "orders": [order.tolist() for order in orders]}
