"""A prepared MovieLens of the larger sizes: three parquet tables, which tens of millions of ratings are read from."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from sid_jax.data.catalogs.movielens.tables import MovieLens, Table
from sid_jax.data.catalogs.store import read_table, write_tables


def write_movielens(catalog: MovieLens, folder: Path) -> None:
    """Writes the catalog into a folder, which it makes."""
    tables = {"items": catalog.items, "users": catalog.users, "ratings": catalog.ratings}
    write_tables(folder, {name: pa.table(table) for name, table in tables.items()}, {"source": catalog.source})


def read_movielens(folder: Path) -> MovieLens:
    """Reads the catalog that `write_movielens` wrote, in the same order."""
    items, users, ratings = (_table(folder, name) for name in ("items", "users", "ratings"))
    return MovieLens(items, users, ratings, source=str(folder))


def _table(folder: Path, name: str) -> Table:
    table = read_table(folder, name)
    return {column: table[column].to_numpy() for column in table.column_names}
