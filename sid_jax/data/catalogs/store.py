"""A prepared catalog in the cache: tables in parquet files and a manifest, complete or absent."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.data.reason import reason
from sid_jax.errors import UserError
from sid_jax.json_file import write_json

_MANIFEST = "manifest.json"


def prepare_folder(folder: Path, write: Callable[[Path, Path], None]) -> None:
    """Writes beside `folder` and then renames: it is complete or absent, whoever else prepares it or is killed.

    Args:
      folder: what is prepared; if another process is the first, its folder stays.
      write: given an empty scratch folder and the folder, not there yet, that it is to make; both are in the cache.

    Raises:
      UserError: if the cache cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Made before anything is fetched, so that a folder that cannot be written to is refused at once.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            unfinished = Path(scratch) / folder.name
            write(Path(scratch), unfinished)
            _rename_unless_there(unfinished, folder)
    except (OSError, RuntimeError) as error:  # Of the two, array_record raises the second.
        raise UserError(
            f"{folder.parent}: the data cannot be kept there ({reason(error)}); "
            "name another folder by --config.data.cache_dir or $SID_JAX_CACHE"
        ) from error


def write_tables(folder: Path, tables: Mapping[str, pa.Table], about: Mapping[str, Any]) -> None:
    """Makes the folder with `NAME.parquet` for each table, and last a manifest of their rows and what else is known."""
    folder.mkdir()
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd", write_page_checksum=True)
    rows = {name: table.num_rows for name, table in tables.items()}
    write_json(folder / _MANIFEST, {"rows": rows, **about})


def read_table(folder: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns a table, or some of its columns; for use within `refuse_damage`, since a damaged file raises anything."""
    rows = json.loads((folder / _MANIFEST).read_text())["rows"][name]
    path = folder / f"{name}.parquet"
    table = pq.read_table(path, columns=None if columns is None else list(columns), page_checksum_verification=True)
    if table.num_rows != rows:
        raise ValueError(f"{name}.parquet holds {table.num_rows} rows, not {rows}")
    return table


@contextlib.contextmanager
def refuse_damage(folder: Path) -> Iterator[None]:
    """Turns whatever damaged files make their readers raise into one line that says what to do."""
    try:
        yield
    except Exception as error:
        raise UserError(
            f"{folder}: the prepared data is damaged ({reason(error)}); delete that folder and run again"
        ) from error


def _rename_unless_there(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.exists():  # If it is there, another process prepared the same data first.
            raise
