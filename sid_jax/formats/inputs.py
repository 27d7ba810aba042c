"""Reads the inputs of a conversion: Semantic IDs, items and histories, from files or memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from sid_jax.data.histories import Histories
from sid_jax.data.inputs import as_histories
from sid_jax.data.listing import find_files
from sid_jax.data.tables import ENDINGS, column_names, exported_column, read_own_tables
from sid_jax.data.vector_set import OWN_COLUMNS
from sid_jax.errors import UserError
from sid_jax.export.artifact import load_export
from sid_jax.export.id_tables import is_export, parse_id_source, read_id_table
from sid_jax.formats.content import LEAST_INTERACTIONS
from sid_jax.ids.table import IdTable
from sid_jax.paths import as_path


def read_table(source: str) -> IdTable:
    """Returns the ID table of an export's folder, with all columns, or of a file of IDs."""
    path, offset = parse_id_source(source)
    folder = as_path(path)
    return load_export(folder).table if is_export(folder) else read_id_table(path, offset)


def with_items(table: IdTable, items: Any) -> IdTable:
    """Returns the table with additional columns. `items` is a path, or the argument of `IdTable.with_columns`."""
    if not isinstance(items, (str, Path)):
        return table.with_columns(items)
    first = find_files(str(items), ENDINGS)[0]
    names = column_names(first)
    id_column = next((name for name in (table.id_name, "item_id") if name in names), names[0] if names else "item_id")
    ids, columns = read_own_tables(str(items), id_column, [name for name in names if name != id_column])
    taken = (table.id_name, *OWN_COLUMNS)
    kept = {name: exported_column(values) for name, values in columns.items() if name not in taken}
    return table.with_columns(pa.table({id_column: ids, **kept}), id_column=id_column)


def enough_histories(histories: Any, table: IdTable, on_unknown: str) -> tuple[Histories | None, int]:
    """Returns the histories of users with 3 or more interactions, and the number of other users.

    Without histories, the result is (None, 0).
    """
    if histories is None:
        return None, 0
    taken = as_histories(histories, table.item_ids, on_unknown=on_unknown)
    enough = taken.lengths >= LEAST_INTERACTIONS
    if not enough.any():
        raise UserError(
            f"no user has the {LEAST_INTERACTIONS} interactions that training, validation and test need; give longer "
            "histories"
        )
    return taken.keep_users(enough), int((~enough).sum())
