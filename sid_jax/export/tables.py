"""The ID table as files: Parquet, which keeps every type, and CSV, which everything reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from sid_jax.errors import UserError

_WHOLE = "ids.parquet"


def write_table(folder: Path, table: pa.Table, *, rows: int | None = None) -> None:
    """Writes the ID table as `ids.parquet` and `ids.csv`, or as .parquet files of so many rows each."""
    if rows is None:
        pq.write_table(table, folder / _WHOLE)
        pyarrow.csv.write_csv(_without_lists(table), folder / "ids.csv")
        return
    count = max(1, -(-len(table) // rows))
    for number in range(count):
        pq.write_table(table.slice(number * rows, rows), folder / shard_name(number, count))


def id_table(
    ids: np.ndarray | pa.Array | pa.ChunkedArray,
    id_name: str,
    codes: np.ndarray,
    semantic_ids: np.ndarray,
    columns: Mapping[str, np.ndarray | pa.ChunkedArray],
) -> pa.Table:
    """Returns the ID table: one row an item, in the order given.

    Args:
      ids: `[N]` item ids, int64 or string (objects), written exactly as they are.
      id_name: what the column with the ids is called.
      codes: `[N, L]` integers, what the model gave; they keep their type.
      semantic_ids: `[N, L']` integers.
      columns: what else is known of the items, each `[N]`, in columns after the IDs.

    Raises:
      UserError: if two columns have the same name, or a column holds values that no one type fits.
    """
    return pa.table(
        _named(
            [
                (id_name, _column(id_name, ids)),
                ("codes", _number_lists(codes)),
                ("semantic_id", _number_lists(semantic_ids)),
                ("sid", _texts(semantic_ids)),
                *((name, _column(name, values)) for name, values in columns.items()),
            ]
        )
    )


def code_type(sizes: Sequence[int]) -> np.dtype:
    """Returns the smallest unsigned type that holds the codes of levels of these sizes."""
    return np.min_scalar_type(max(sizes) - 1)


def shard_name(number: int, count: int) -> str:
    """Returns what one of so many files of an ID table is called."""
    return f"ids-{number:05}-of-{count:05}.parquet"


def table_files(folder: Path) -> list[Path]:
    """Returns the files of an export's ID table, in the order of its rows: one, or many."""
    return [folder / _WHOLE] if (folder / _WHOLE).exists() else sorted(folder.glob("ids-*-of-*.parquet"))


def _named(columns: list[tuple[str, pa.Array]]) -> dict[str, pa.Array]:
    named: dict[str, pa.Array] = {}
    for name, values in columns:
        if name in named:
            raise UserError(f"two columns of the ID table would be called {name!r}: rename the one in your data")
        named[name] = values
    return named


def _column(name: str, values: np.ndarray | pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    try:
        return pa.array(values)
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"column {name!r} cannot be written as a table: {reason}; give all its values one type"
        ) from error


def _number_lists(rows: np.ndarray) -> pa.ListArray:
    offsets = pa.array(np.arange(len(rows) + 1) * rows.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(rows.ravel()))


def _texts(semantic_ids: np.ndarray) -> pa.Array:
    """Returns what `ids.table.sid_text` does."""
    levels = [pa.array(np.ascontiguousarray(level)).cast(pa.string()) for level in semantic_ids.T]
    return pc.binary_join_element_wise(*levels, "-")


def _without_lists(table: pa.Table) -> pa.Table:
    """Returns the table with lists as text, "12 4 91": CSV has none."""
    for position, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            text = pc.binary_join(table[position].cast(pa.list_(pa.string())), " ")
            table = table.set_column(position, field.name, text)
    return table
