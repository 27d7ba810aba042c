"""Rejects or drops rows with NaN or infinite values in vectors that are in memory."""

from __future__ import annotations

import numpy as np

from sid_jax.data.blocks import bad_rows, check_finite
from sid_jax.data.layout import Layout
from sid_jax.data.vector_set import LeftOut
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
) -> tuple[np.ndarray, LeftOut]:
    """Returns a mask `[N]` bool of the finite rows of vectors, and a description of the other rows.

    Args:
      vectors: `[N, D]`, named "vectors" in errors.
      ids: `[N]` item ids.
      on_bad_rows: "drop" drops rows that are not finite; "error" rejects them. "report" has the same effect here as
        "error", since bad rows are listed only if they come from files.
      layout: see `blocks.not_finite`.
      allow_empty: whether all rows may be dropped.
      option: the option that drops bad rows, for error messages.

    Raises:
      UserError: if `on_bad_rows` is invalid; if a row is not finite and not dropped; or if all rows are dropped.
    """
    if on_bad_rows not in ON_BAD_ROWS:
        raise UserError(f"on_bad_rows is {on_bad_rows!r}; choose one of {', '.join(ON_BAD_ROWS)}")
    kept = np.ones(len(ids), bool)
    if on_bad_rows != "drop":
        check_finite(vectors, ids, "vectors", layout, option)
        return kept, LeftOut()
    bad = bad_rows(vectors, layout)
    if 0 < len(bad) == len(ids) and not allow_empty:
        raise UserError(f"vectors: all {len(bad)} rows have NaN or infinite values; correct them")
    kept[bad] = False
    first = tuple(f"row {row} (id {shown(ids[row : row + 1].tolist()[0])})" for row in bad[:_MOST_NAMED].tolist())
    return kept, LeftOut(len(bad), len(kept), first) if len(bad) else LeftOut()
