"""Reads additional columns of the items, such as titles, from files of vectors, in parts (ranges of rows)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.buckets.place import File, RemoteFile
from sid_jax.data.parts.part import file_of, opened
from sid_jax.data.parts.vector_parts import VectorParts
from sid_jax.data.tables import TABLE_ENDINGS, exported_column, table_with
from sid_jax.errors import UserError, reason


def columns_of_part(parts: VectorParts, number: int, schema: pa.Schema) -> pa.Table:
    """Returns the columns of `schema` for the rows of part `number` that are not dropped.

    A column that the part's file lacks is null.

    Raises:
      UserError: if the file cannot be read, or a column cannot be converted to its type in `schema`.
    """
    part = parts.parts[number]
    path, read = file_of(part.path), pa.table({})
    if isinstance(path, RemoteFile) or path.suffix.lower() == ".parquet":
        with opened(path) as source, pq.ParquetFile(source) as file:
            there = [name for name in schema.names if name in file.schema_arrow.names]
            read = file.read_row_groups(list(range(*part.row_groups)), columns=there) if there else read
    elif path.suffix.lower() in TABLE_ENDINGS and schema.names:
        read = table_with(path, schema.names).slice(part.first_row, part.num_rows)
    table = under_schema(schema, read, part.num_rows, str(path))
    return table.take(pa.array(parts.kept(number))) if part.left_out else table


def schema_of_parts(parts: VectorParts, names: Sequence[str]) -> pa.Schema:
    """Returns the types in which the columns `names` are exported; columns that no file has are omitted.

    The type of a column is determined by the first file that has the column.

    Raises:
      UserError: if a file cannot be read.
    """
    found: dict[str, pa.DataType] = {}
    for path in map(file_of, dict.fromkeys(part.path for part in parts.parts)):
        missing = [name for name in names if name not in found]
        if not missing:
            break
        if isinstance(path, RemoteFile) or path.suffix.lower() in TABLE_ENDINGS:
            head = _head(path, missing)
            found |= {name: exported_column(head[name]).type for name in missing if name in head.column_names}
    return pa.schema([(name, found[name]) for name in names if name in found])


def _head(path: File, names: Sequence[str]) -> pa.Table:
    """Returns columns of a table file; from a Parquet file, only the types are read, and the columns are empty."""
    if isinstance(path, Path) and path.suffix.lower() != ".parquet":
        return table_with(path, names)
    with opened(path) as source:
        return pq.read_schema(source).empty_table()


def under_schema(schema: pa.Schema, table: pa.Table, num_rows: int, where: str) -> pa.Table:
    """Casts a table's columns to a schema; a column that the table lacks becomes null.

    Raises:
      UserError: if a column cannot be cast to the schema's type.
    """
    columns = {}
    for field in schema:
        columns[field.name] = pa.nulls(num_rows, field.type)
        if field.name in table.column_names:
            try:
                columns[field.name] = exported_column(table[field.name]).cast(field.type)
            except pa.ArrowException as error:
                raise UserError(
                    f"{where}: column {field.name!r} cannot be converted to {field.type}, its type in the export "
                    f"({reason(error)}); give values of that type"
                ) from error
    return pa.table(columns, schema=schema)
