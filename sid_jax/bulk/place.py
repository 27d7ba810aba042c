"""The last two stages of a bulk export: give crowded items unique IDs, and write the files of the ID table.

A *group* has all items whose first code is in a range of codes. An item is *crowded* if its code tuple has more items
than the maximum number of items per ID. It *leaves* its first code if no ID under this first code is free. A *part* is
a range of rows of an input file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.bulk.groups import Group, SpilledRows, load_items
from sid_jax.bulk.job import (
    Items,
    Job,
    code_columns,
    codes_of,
    items_of,
    joined,
    of_part,
    read_columns,
    write_columns,
)
from sid_jax.data.part_columns import columns_of_part
from sid_jax.export.artifact import shard_name
from sid_jax.ids.alternatives import CodeAlternatives
from sid_jax.ids.relocate import Placing, other_first_codes, places_of_first_code
from sid_jax.ids.table import IdTable
from sid_jax.ids.unique import append_suffix
from sid_jax.whole_file import whole_file


def place_group(job: Job, group: Group) -> dict[str, Any]:
    """Assigns unique IDs to the crowded items of a group; writes the new codes or suffixes, and the leaving items.

    This is the stage "placing items" of `run_stages`, with one piece per group.
    """
    items = load_items(job, group)
    rows, none = _found(items, read_columns(job.file("crowded", group.number))), np.zeros(job.sizes[0], np.int64)
    if job.scheme == "suffix":
        numbered = append_suffix(items.codes[rows], items.ids[rows])[:, -1:]
        _write_places(job, group.number, items, rows, numbered)
        return {**_moves(items.codes[:0], items.codes[:0], none), "suffixes": int(numbered.max(initial=0)) + 1}
    exact = _found(items, read_columns(job.file("exact", group.number)))
    placing = _placing(job, items, SpilledRows.vectors(job, items, exact))
    leaving = placing.settle()
    moved = np.flatnonzero((placing.codes != items.codes).any(axis=1))
    _write_places(job, group.number, items, moved, placing.codes[moved])
    write_columns(job.file("leaving", group.number), items.rows(leaving).columns())
    return _moves(
        items.codes[moved], placing.codes[moved], np.bincount(items.codes[leaving, 0], minlength=job.sizes[0])
    )


def admit_leaving(job: Job, groups: Sequence[Group], counts: np.ndarray, leaving: np.ndarray) -> list[dict[str, Any]]:
    """Assigns IDs under other first codes to the leaving items, after `place_group` has run for all groups.

    The new codes are written to additional `placed` files, whose numbers follow the groups' numbers. `counts` `[K]` is
    the number of items with each first code, and `leaving` `[K]` is the number of these items that leave.
    """
    homeless = joined([items_of(read_columns(job.file("leaving", group.number))) for group in groups])
    everyone = np.arange(len(homeless.part))
    alternatives = CodeAlternatives(job.model, SpilledRows.latents(job, homeless))
    free = places_of_first_code(job.sizes, job.capacity) - (counts - leaving)
    chosen = other_first_codes(everyone, homeless.ids[everyone], free, alternatives)
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
    """Assigns free IDs under a group's first codes to leaving items.

    The new codes are written to the `placed` file with this `number`.
    """
    there = _settled(job, group)
    items = joined([there, homeless.rows(coming)])
    new = len(there.part) + np.arange(len(coming))
    placing = _placing(job, items, None)
    placing.admit(new, first_codes)
    _write_places(job, number, items, new, placing.codes[new])
    return _moves(items.codes[new], placing.codes[new], np.zeros(job.sizes[0], np.int64))


def _settled(job: Job, group: Group) -> Items:
    """Returns a group's items with their current codes, without the items that leave."""
    items = load_items(job, group)
    places, leaving = read_columns(job.file("placed", group.number)), read_columns(job.file("leaving", group.number))
    codes = items.codes.copy()
    codes[_found(items, places)] = codes_of(places)
    stays = np.ones(len(codes), bool)
    stays[_found(items, leaving)] = False
    return dataclasses.replace(items, codes=codes).rows(np.flatnonzero(stays))


def _found(items: Items, table: Any) -> np.ndarray:
    """Returns the positions of a table's (part, row) pairs among the items."""
    pairs = ((items.part, items.row), (table["part"], table["row"]))
    have, wanted = (np.asarray(part, np.int64) << 32 | np.asarray(row, np.int64) for part, row in pairs)
    order = np.argsort(have)
    return order[np.searchsorted(have, wanted, sorter=order)]


def _placing(job: Job, items: Items, vectors: SpilledRows | None) -> Placing:
    alternatives = CodeAlternatives(job.model, SpilledRows.latents(job, items), vectors)
    return Placing(items.codes, items.ids, job.sizes, alternatives, job.capacity)


def _write_places(job: Job, number: int, items: Items, rows: np.ndarray, codes: np.ndarray) -> None:
    rows, codes = (each[np.argsort(items.part[rows], kind="stable")] for each in (rows, codes))
    columns = {"part": items.part[rows], "row": items.row[rows]}
    write_columns(job.file("placed", number), {**columns, **code_columns(codes.astype(np.int32))})


def _moves(before: np.ndarray, after: np.ndarray, leaving: np.ndarray) -> dict[str, Any]:
    return {
        "relocated": len(before),
        "relocated_by_level": (before != after).sum(axis=0),
        "leaving": leaving,
        "suffixes": 1,
    }


def all_moves(results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Adds up the counts of relocated and leaving items over the results of all pieces."""
    results = list(results)
    added = {name: sum(each[name] for each in results) for name in ("relocated", "relocated_by_level", "leaving")}
    return {**added, "suffixes": max(each["suffixes"] for each in results)}


def write_part(job: Job, piece: tuple[int, int, Sequence[int]]) -> None:
    """Writes a part's rows of the ID table, in the order of the input (last stage, one piece per part).

    Args:
      job: the export.
      piece: number of the part, number of `placed` files, and the sizes of a Semantic ID's levels.
    """
    part, num_placed, sizes = piece
    items = items_of(read_columns(job.file("encoded", part)))
    # The file `encoded` is sorted by first code. The next lines restore the order of the part's rows.
    codes = np.empty_like(items.codes)
    codes[items.row] = items.codes
    ids = items.ids.arrow.take(pa.array(np.argsort(items.row)))
    semantic_ids = codes.astype(np.int32)
    if job.scheme == "suffix":
        semantic_ids = np.pad(semantic_ids, ((0, 0), (0, 1)))
    for number in range(num_placed):
        places = of_part(read_columns(job.file("placed", number)), part)
        levels = slice(-1, None) if job.scheme == "suffix" else slice(None)
        semantic_ids[places["row"].to_numpy(), levels] = codes_of(places)
    name = shard_name(part, len(job.inputs.parts))
    (job.folder / name).parent.mkdir(exist_ok=True)
    with whole_file(job.folder / name) as file:
        columns = columns_of_part(job.inputs, part, job.columns) if job.columns.names else None
        table = IdTable(ids, semantic_ids, codes=codes, sizes=sizes, columns=columns, id_name=job.id_name, check=False)
        pq.write_table(table.to_arrow(), file)
