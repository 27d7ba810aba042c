"""Fourth stage, a piece for each group: items that share too much get IDs of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sid_jax.bulk import store
from sid_jax.bulk.groups import Group, SpilledRows, load_items
from sid_jax.bulk.items import Items, code_columns, codes_of, items_of, joined
from sid_jax.bulk.job import Job
from sid_jax.ids.alternatives import CodeAlternatives
from sid_jax.ids.relocate import Placing, other_first_codes, places_of_first_code
from sid_jax.ids.unique import append_suffix


def place_group(job: Job, group: Group) -> dict[str, Any]:
    """Writes what rows get instead of their codes, and which of them find no place under their first code."""
    items = load_items(job, group)
    crowded = _crowded(job, group, items)
    if job.scheme == "suffix":
        return _number(job, group, items, crowded)
    placing = _placing(job, items, crowded)
    leaving = placing.settle()
    moved = np.flatnonzero((placing.codes != items.codes).any(axis=1))
    _write_places(job, group.number, items, moved, placing.codes[moved])
    store.write(store.leaving(job, group.number), items.rows(leaving).columns())
    return _moves(
        items.codes[moved], placing.codes[moved], np.bincount(items.codes[leaving, 0], minlength=job.sizes[0])
    )


def admit_leaving(job: Job, groups: Sequence[Group], counts: np.ndarray, leaving: np.ndarray) -> list[dict[str, Any]]:
    """Gives places under other first codes to the rows that have none; it writes them as groups after the last.

    Args:
      job: whose.
      groups: all of them, placed.
      counts: `[K]`, how many items each first code was chosen for.
      leaving: `[K]`, how many of them have no place there.
    """
    homeless = joined([items_of(store.read(store.leaving(job, group.number))) for group in groups])
    everyone = np.arange(len(homeless.part))
    vectors = SpilledRows(job, homeless.part, homeless.row, np.ones(len(everyone), bool))
    free = places_of_first_code(job.sizes, job.capacity) - (counts - leaving)
    chosen = other_first_codes(everyone, homeless.ids[everyone], free, CodeAlternatives(job.model, vectors))
    results: list[dict[str, Any]] = []
    for group in groups:
        coming = np.flatnonzero((chosen >= group.first) & (chosen < group.end))
        if len(coming):
            number = len(groups) + len(results)
            results.append(_admit(job, group, number, homeless, coming, chosen[coming]))
    return results


def _admit(
    job: Job, group: Group, number: int, homeless: Items, coming: np.ndarray, first_codes: np.ndarray
) -> dict[str, Any]:
    """Places rows of the homeless under first codes of a group, beside those who have their places there."""
    there = _settled(job, group)
    items = joined([there, homeless.rows(coming)])
    new = len(there.part) + np.arange(len(coming))
    placing = _placing(job, items, np.isin(np.arange(len(items.part)), new))
    placing.admit(new, first_codes)
    _write_places(job, number, items, new, placing.codes[new])
    return _moves(items.codes[new], placing.codes[new], np.zeros(job.sizes[0], np.int64))


def _settled(job: Job, group: Group) -> Items:
    """Returns a group's items with the codes that they have by now, without those who leave."""
    items = load_items(job, group)
    places, leaving = store.read(store.placed(job, group.number)), store.read(store.leaving(job, group.number))
    codes = items.codes.copy()
    codes[_found(items, places)] = codes_of(places)
    stays = np.ones(len(codes), bool)
    stays[_found(items, leaving)] = False
    return dataclasses.replace(items, codes=codes).rows(np.flatnonzero(stays))


def _crowded(job: Job, group: Group, items: Items) -> np.ndarray:
    known = np.zeros(len(items.part), bool)
    known[_found(items, store.read(store.crowded(job, group.number)))] = True
    return known


def _found(items: Items, table: Any) -> np.ndarray:
    """Returns where a table's parts and rows are among the items."""
    have, wanted = (_place(*pair) for pair in ((items.part, items.row), (table["part"], table["row"])))
    order = np.argsort(have)
    return order[np.searchsorted(have, wanted, sorter=order)]


def _place(part: Any, row: Any) -> np.ndarray:
    return np.asarray(part, np.int64) << 32 | np.asarray(row, np.int64)


def _placing(job: Job, items: Items, known: np.ndarray) -> Placing:
    vectors = SpilledRows(job, items.part, items.row, known)
    return Placing(items.codes, items.ids, job.sizes, CodeAlternatives(job.model, vectors), job.capacity)


def _number(job: Job, group: Group, items: Items, crowded: np.ndarray) -> dict[str, Any]:
    rows = np.flatnonzero(crowded)
    numbered = append_suffix(items.codes[rows], items.ids[rows])
    _write_places(job, group.number, items, rows, numbered[:, -1:])
    none = np.zeros(job.sizes[0], np.int64)
    return {**_moves(items.codes[:0], items.codes[:0], none), "suffixes": int(numbered[:, -1].max(initial=0)) + 1}


def _write_places(job: Job, number: int, items: Items, rows: np.ndarray, codes: np.ndarray) -> None:
    rows, codes = (each[np.argsort(items.part[rows], kind="stable")] for each in (rows, codes))
    columns = {"part": items.part[rows], "row": items.row[rows]}
    store.write(store.placed(job, number), {**columns, **code_columns(codes.astype(np.int32))})


def _moves(before: np.ndarray, after: np.ndarray, leaving: np.ndarray) -> dict[str, Any]:
    return {"moved": len(before), "moved_by_level": (before != after).sum(axis=0), "leaving": leaving, "suffixes": 1}


def all_moves(results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Returns what the pieces moved, put together."""
    results = list(results)
    added = {name: sum(each[name] for each in results) for name in ("moved", "moved_by_level", "leaving")}
    return {**added, "suffixes": max(each["suffixes"] for each in results)}
