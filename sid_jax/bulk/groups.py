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
from sid_jax.ids.relocate import needs_exact_costs, tuple_keys

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

    This is the stage "comparing codes" of `run_stages`, with one piece per group.
    """
    items = load_items(job, group)
    _, where, sizes = np.unique(tuple_keys(items.codes, job.sizes), return_inverse=True, return_counts=True)
    most = {"none": len(where), "suffix": 1, "relocate": job.capacity}[job.scheme]
    rows = np.flatnonzero(sizes[where] > most)
    exact = rows[:0]
    if job.scheme == "relocate":
        first_codes = items.codes[:, 0].astype(np.intp)
        num_items = np.bincount(first_codes, minlength=job.sizes[0])
        exact = rows[needs_exact_costs(first_codes[rows], num_items)[first_codes[rows]]]
    for kind, chosen in (("crowded", rows), ("exact", exact)):
        write_columns(job.file(kind, group.number), {"part": items.part[chosen], "row": items.row[chosen]})
    return {
        "bucket_sizes": np.unique(sizes, return_counts=True),
        "distinct_vectors": len(distinct(items.vector_hash)),
        "crowded": len(rows),
        "exact": len(exact),
    }


class SpilledRows:
    """An array `[n, F]` float32 whose rows are read from the scratch files of the parts on request.

    Args:
      job: the export.
      kind: "latents" or "exact_vectors", a key of `sid_jax.bulk.job.FILES`.
      part: `[n]`, the part of each row.
      place: `[n]`, the position of each row in the file of its part.
      width: F.
    """

    def __init__(self, job: Job, kind: str, part: np.ndarray, place: np.ndarray, width: int):
        self._job, self._kind, self._part, self._place, self._width = job, kind, part, place, width

    @classmethod
    def latents(cls, job: Job, items: Items) -> SpilledRows:
        """Returns the latent vectors of items."""
        return cls(job, "latents", items.part, items.row, job.model.quantizer.codebooks[0].shape[1])

    @classmethod
    def vectors(cls, job: Job, items: Items, exact: np.ndarray) -> SpilledRows:
        """Returns the vectors of items; only those whose positions are in `exact` may be read."""
        place = np.full(len(items.part), -1, np.int64)
        for part in np.unique(items.part[exact]).tolist():
            rows = exact[items.part[exact] == part]
            place[rows] = np.searchsorted(np.load(job.file("exact_rows", part)), items.row[rows])
        return cls(job, "exact_vectors", items.part, place, job.inputs.num_features)

    def __len__(self) -> int:
        return len(self._part)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Returns the elements `[m, F]` float32 at the row numbers `[m]`.

        Raises:
          IndexError: if a row is not in the files.
        """
        if (self._place[rows] < 0).any():
            raise IndexError(f"a row is not among the {self._kind} of the scratch files")
        found = np.empty((len(rows), self._width), np.float32)
        for part in np.unique(self._part[rows]).tolist():
            mine = np.flatnonzero(self._part[rows] == part)
            spilled = np.memmap(self._job.file(self._kind, part), np.float32, "r").reshape(-1, self._width)
            found[mine] = take_rows(spilled, self._place[rows[mine]])
        return found


def gather_part(job: Job, piece: tuple[int, Sequence[Group]]) -> None:
    """Copies vectors from a part's input file to a scratch file, for the items whose relocation compares exact costs.

    This is the stage "reading vectors" of `run_stages`, with one piece per part.
    """
    part, groups = piece
    tables = [of_part(read_columns(job.file("exact", group.number)), part) for group in groups]
    rows = np.sort(np.concatenate([table["row"].to_numpy() for table in tables]))
    write_array(job.file("exact_rows", part), rows)
    with scratch_file(job.file("exact_vectors", part)) as file:
        for vectors in job.inputs.rows(part, rows, 1024) if len(rows) else ():
            file.write(vectors.data)
