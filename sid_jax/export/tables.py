"""The ID table as files: Parquet, which keeps every type, and CSV, which everything reads."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

WHOLE_FILE = "ids.parquet"
# Of an ID table in several files.
ROWS_A_FILE = 2**18


def write_table(folder: Path, table: pa.Table, *, rows: int | None = None) -> None:
    """Writes the ID table as `ids.parquet` and `ids.csv`, or as .parquet files of so many rows each."""
    if rows is None:
        pq.write_table(table, folder / WHOLE_FILE)
        pyarrow.csv.write_csv(_without_lists(table), folder / "ids.csv")
        return
    count = max(1, -(-len(table) // rows))
    for number in range(count):
        pq.write_table(table.slice(number * rows, rows), folder / shard_name(number, count))


def shard_name(number: int, count: int) -> str:
    """Returns what one of so many files of an ID table is called."""
    return f"ids-{number:05}-of-{count:05}.parquet"


def table_files(folder: Path) -> list[Path]:
    """Returns the files of an export's ID table, in the order of its rows: one, or many."""
    return [folder / WHOLE_FILE] if (folder / WHOLE_FILE).exists() else sorted(folder.glob("ids-*-of-*.parquet"))


def _without_lists(table: pa.Table) -> pa.Table:
    """Returns the table with lists as text, "12 4 91": CSV has none."""
    for position, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            text = pc.binary_join(table[position].cast(pa.list_(pa.string())), " ")
            table = table.set_column(position, field.name, text)
    return table
