"""Groups the items of a bulk export by first code, and finds crowded items.

IDs are made unique under each first code separately. An item is *crowded* if its code tuple has more items than the
maximum number of items per ID. A *part* is a range of rows of an input file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from sid_jax.bulk.job import (
    Items,
    Job,
    items_of,
    joined,
    of_part,
    read_columns,
    scratch_file,
    write_array,
    write_columns,
)
from sid_jax.data.blocks import take_rows
from sid_jax.distinct import distinct
from sid_jax.ids.relocate import tuple_keys

# Maximum number of items per group, which bounds the memory. Only a group with a single first code may be larger.
_ITEMS_A_GROUP = 2**17


@dataclasses.dataclass(frozen=True)
class Group:
    """The items whose first code is at least `first` and below `end`. Groups are numbered from 0."""

    number: int
    first: int
    end: int


def make_groups(counts: np.ndarray) -> list[Group]:
    """Splits the K possible first codes into groups of consecutive codes.

    Args:
      counts: `[K]`, the number of items with each first code.
    """
    groups: list[Group] = []
    first, size = 0, 0
    for code, count in enumerate(counts.tolist()):
        if code > first and size + count > _ITEMS_A_GROUP:
            groups.append(Group(len(groups), first, code))
            first, size = code, 0
        size += count
    return [*groups, Group(len(groups), first, len(counts))]


def load_items(job: Job, group: Group) -> Items:
    """Reads a group's items from all parts."""
    found = []
    for part in range(len(job.inputs.parts)):
        table = read_columns(job.file("encoded", part))
        first, end = np.searchsorted(table["code_0"].to_numpy(), [group.first, group.end])
        found.append(items_of(table.slice(first, end - first)))
    return joined(found)


def count_group(job: Job, group: Group) -> dict[str, Any]:
    """Finds a group's crowded items, and counts the code tuples with one item, with two items, and so on.

    This is the second stage of a bulk export, with one piece per group.
    """
    items = load_items(job, group)
    _, where, sizes = np.unique(tuple_keys(items.codes, job.sizes), return_inverse=True, return_counts=True)
    most = {"none": len(where), "suffix": 1, "relocate": job.capacity}[job.scheme]
    rows = np.flatnonzero(sizes[where] > most)
    write_columns(job.file("crowded", group.number), {"part": items.part[rows], "row": items.row[rows]})
    return {
        "bucket_sizes": np.unique(sizes, return_counts=True),
        "distinct_vectors": len(distinct(items.vector_hash)),
        "crowded": len(rows),
    }


class SpilledRows:
    """An array of vectors `[n, D]`, read from disk on request. Only crowded items have vectors on disk.

    `part` and `row`, `[n]`, locate each item; `known`, `[n]` bool, marks the crowded items.
    """

    def __init__(self, job: Job, part: np.ndarray, row: np.ndarray, known: np.ndarray):
        self._job, self._part = job, part
        self._place = np.full(len(part), -1, np.int64)
        for each in np.unique(part[known]).tolist():
            rows = known & (part == each)
            self._place[rows] = np.searchsorted(np.load(job.file("crowded_rows", each)), row[rows])

    def __len__(self) -> int:
        return len(self._part)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Returns the vectors `[m, D]` float32 of rows `[m]`."""
        vectors = np.empty((len(rows), self._job.inputs.num_features), np.float32)
        for part in np.unique(self._part[rows]).tolist():
            mine = np.flatnonzero(self._part[rows] == part)
            path = self._job.file("crowded_vectors", part)
            spilled = np.memmap(path, np.float32, "r").reshape(-1, vectors.shape[1])
            vectors[mine] = take_rows(spilled, self._place[rows[mine]])
        return vectors


def gather_part(job: Job, piece: tuple[int, Sequence[Group]]) -> None:
    """Copies the vectors of a part's crowded items from the input file to a file in the scratch folder.

    This is the third stage of a bulk export, with one piece per part. A part is a range of rows of an input file.
    """
    part, groups = piece
    tables = [of_part(read_columns(job.file("crowded", group.number)), part) for group in groups]
    rows = np.sort(np.concatenate([table["row"].to_numpy() for table in tables]))
    write_array(job.file("crowded_rows", part), rows)
    path = job.file("crowded_vectors", part)
    with scratch_file(path) as file:
        for vectors in job.inputs.rows(part, rows, 1024) if len(rows) else ():
            file.write(vectors.data)
