"""Rows with NaN or infinite values: refused, left out, or listed, as `data.on_bad_rows` says."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import sys
from collections.abc import Iterator

import numpy as np

from sid_jax.data.checks import bad_value, not_finite
from sid_jax.data.parts.vector_parts import VectorParts
from sid_jax.data.reason import shown
from sid_jax.data.vector_set import LeftOut
from sid_jax.errors import UserError

_ROWS_A_BLOCK = 8192
_MOST_NAMED = 5
_DROPPING = "sid-jax train --config.data.on_bad_rows=drop, sid-jax export --on_bad_rows=drop"


@dataclasses.dataclass(frozen=True)
class _BadRow:
    part: int
    place: int  # In the part.
    path: str
    row: int  # In the file.
    item_id: object
    vector: np.ndarray

    def __str__(self) -> str:
        return f"{self.path}: {bad_value(self.vector, self.row, self.item_id)}"


def treat_bad_rows(parts: VectorParts, how: str) -> tuple[VectorParts, LeftOut]:
    """Does with rows that are not finite what the setting says, before anything else is done.

    Args:
      parts: all rows.
      how: "error" does nothing yet: who reads the rows finds them, and calls `refuse_bad_rows`, so that nothing is
        read twice. "drop" reads all rows, and returns the parts without the bad ones. "report" reads all rows, prints
        the bad ones, if there are any, as CSV, and refuses them.

    Raises:
      UserError: if there are bad rows and they are to be reported, or no others; or if a row cannot be read.
    """
    if how == "drop":
        return _without(parts)
    if how == "report":
        _report(parts)
    return parts, LeftOut()


def refuse_bad_rows(parts: VectorParts) -> None:
    """Raises UserError, naming the first bad row and how many there are; nothing if there are none."""
    found = _bad_rows(parts)
    first = next(found, None)
    if first is not None:
        count = 1 + sum(1 for _ in found)
        raise UserError(
            f"{first}; NaN or infinite values are in {count} of {parts.num_rows} rows: mend them, or leave them out "
            f"({_DROPPING})"
        )


def _bad_rows(parts: VectorParts) -> Iterator[_BadRow]:
    for number, part in enumerate(parts.parts):
        for first, ids, vectors in parts.all_rows(number, _ROWS_A_BLOCK):
            for row in not_finite(vectors).tolist():
                place = first + row
                yield _BadRow(number, place, part.path, part.first_row + place, ids[row].as_py(), vectors[row])


def _without(parts: VectorParts) -> tuple[VectorParts, LeftOut]:
    left_out: list[list[int]] = [[] for _ in parts.parts]
    first: list[str] = []
    for bad in _bad_rows(parts):
        left_out[bad.part].append(bad.place)
        if len(first) < _MOST_NAMED:
            first.append(f"{bad.path} row {bad.row} (id {shown(bad.item_id)})")
    kept = tuple(
        dataclasses.replace(part, left_out=tuple(rows))
        for part, rows in zip(parts.parts, left_out, strict=True)
        if len(rows) < part.num_rows
    )
    if not kept:
        raise UserError(f"{parts.parts[0].path}: all {parts.num_rows} rows hold NaN or infinite values; mend them")
    return dataclasses.replace(parts, parts=kept), LeftOut(sum(map(len, left_out)), parts.num_rows, tuple(first))


def _report(parts: VectorParts) -> None:
    found = _bad_rows(parts)
    first = next(found, None)
    if first is None:
        return
    writer, count = csv.writer(sys.stdout), 0
    writer.writerow(["file", "row", "id", "columns", "first_column", "value"])
    for bad in itertools.chain([first], found):
        count += 1
        columns = np.flatnonzero(~np.isfinite(bad.vector))
        value = bad.vector[columns[0]]
        writer.writerow([bad.path, bad.row, bad.item_id, len(columns), columns[0], value])
    raise UserError(
        f"NaN or infinite values are in {count} of {parts.num_rows} rows, which standard output lists: mend them, or "
        f"leave them out ({_DROPPING})"
    )
