"""Rejects or drops rows with NaN or infinite values in vectors that are in memory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from sid_jax.data.blocks import bad_rows, check_finite
from sid_jax.data.id_lists import check_cold
from sid_jax.data.layout import Layout
from sid_jax.data.vector_set import LeftOut, VectorSet
from sid_jax.errors import UserError, shown

_MOST_NAMED = 5
ON_BAD_ROWS = ("error", "drop", "report")


def finite_rows(
    vectors: np.ndarray,
    ids: np.ndarray,
    on_bad_rows: str,
    layout: Layout | None = None,
    *,
    allow_empty: bool = False,
    option: str = "",
    where: str = "vectors",
) -> tuple[np.ndarray, LeftOut]:
    """Returns a mask `[N]` bool of the finite rows of vectors, and a description of the other rows.

    Args:
      vectors: `[N, D]`.
      ids: `[N]` item ids.
      on_bad_rows: "drop" drops rows that are not finite; "error" rejects them. "report" has the same effect here as
        "error", since bad rows are listed only if they come from files.
      layout: see `blocks.not_finite`.
      allow_empty: whether all rows may be dropped.
      option: the option that drops bad rows, for error messages.
      where: the name of the vectors in error messages.

    Raises:
      UserError: if `on_bad_rows` is invalid; if there is a row that is not finite, unless `on_bad_rows` is "drop"; or
        if all rows would be dropped, unless `allow_empty` is set.
    """
    if on_bad_rows not in ON_BAD_ROWS:
        raise UserError(f"on_bad_rows is {on_bad_rows!r}; choose one of {', '.join(ON_BAD_ROWS)}")
    kept = np.ones(len(ids), bool)
    if on_bad_rows != "drop":
        check_finite(vectors, ids, where, layout, option)
        return kept, LeftOut()
    bad = bad_rows(vectors, layout)
    if 0 < len(bad) == len(ids) and not allow_empty:
        raise UserError(f"{where}: all {len(bad)} rows have NaN or infinite values; correct them")
    kept[bad] = False
    return kept, LeftOut(tuple(bad.tolist()), len(kept), _named(bad, ids[bad])) if len(bad) else LeftOut()


def _named(rows: np.ndarray, ids: np.ndarray) -> tuple[str, ...]:
    """Describes the first few of the given rows by their numbers and ids."""
    first = zip(rows[:_MOST_NAMED].tolist(), ids[:_MOST_NAMED].tolist(), strict=True)
    return tuple(f"row {row} (id {shown(id_)})" for row, id_ in first)


def finite_items(data: VectorSet, on_bad_rows: str, option: str = "", where: str = "vectors") -> VectorSet:
    """Returns the items with finite vectors; rows that were dropped earlier remain in `left_out`. See `finite_rows`."""
    kept, left_out = finite_rows(data.vectors, data.ids, on_bad_rows, data.layout, option=option, where=where)
    if not left_out.num_rows:
        return data
    return dataclasses.replace(
        data,
        ids=data.ids[kept],
        vectors=data.vectors[kept],
        columns={name: values.filter(pa.array(kept)) for name, values in data.columns.items()},
        cold=None if data.cold is None else check_cold(data.cold[kept], "cold"),
        left_out=_joined(data.left_out, left_out, data.ids[~kept]),
    )


def _joined(earlier: LeftOut, later: LeftOut, later_ids: np.ndarray) -> LeftOut:
    """Returns the dropped rows of both arguments, with their numbers in the input.

    The row numbers in `later` do not count the rows that `earlier` dropped. `later_ids` are the ids of its rows.
    """
    if not earlier.num_rows:
        return later
    remaining = np.delete(np.arange(earlier.out_of), earlier.rows)
    rows = remaining[list(later.rows)]
    first = (*earlier.first, *_named(rows, later_ids))[:_MOST_NAMED]
    return LeftOut(tuple(sorted([*earlier.rows, *rows.tolist()])), earlier.out_of, first)
