"""Counts old Semantic IDs that belong to other items in a new table.

Such IDs mislead systems that still use the old table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from sid_jax.ids.convert import comparable, places
from sid_jax.ids.table import IdTable
from sid_jax.wording import counted


def num_reassigned(old: IdTable, new: IdTable) -> int:
    """Returns the number of old IDs that are in the new table, but belong to none of their previous items there."""
    return num_reassigned_of_blocks(old, [(new.arrow_ids, new.semantic_ids)])


def num_reassigned_of_blocks(old: IdTable, blocks: Iterable[tuple[pa.ChunkedArray, np.ndarray]]) -> int:
    """Returns `num_reassigned` for a new table that is given as blocks of item ids `[n]` and IDs `[n, L]`."""
    before = _as_bytes(old.semantic_ids)
    names = np.unique(before)
    given, still = np.zeros(len(names), bool), np.zeros(len(names), bool)
    for item_ids, semantic_ids in blocks:
        if semantic_ids.shape[1] != old.semantic_ids.shape[1]:
            return 0
        after = _as_bytes(semantic_ids)
        name = np.minimum(np.searchsorted(names, after), len(names) - 1)
        there = names[name] == after
        given[name[there]] = True
        have, wanted = comparable(old.arrow_ids, item_ids)
        row = places(wanted, have)
        still[name[there & (row >= 0) & (before[row] == after)]] = True
    return int((given & ~still).sum())


def words_of_reassigned(alignment: Mapping[str, Any]) -> str:
    """Returns a command's warning about old IDs that belong to other items; `alignment` is from the manifest."""
    to = alignment["to"]
    return (
        f"{counted(alignment['num_reassigned'], f'ID of {to} now belongs', f'IDs of {to} now belong')} to other items. "
        "Every system "
        "that stores IDs must replace all its IDs at the same time; sid-jax diff OLD NEW counts the changed IDs"
    )


def _as_bytes(semantic_ids: np.ndarray) -> np.ndarray:
    """Converts `[N, L]` to byte strings `[N]` for comparison."""
    semantic_ids = np.ascontiguousarray(semantic_ids, ">i4")
    return semantic_ids.view(f"S{4 * semantic_ids.shape[1]}").reshape(-1)
