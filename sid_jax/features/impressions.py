"""How often each item is seen, from somebody's table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from sid_jax.data.csv_columns import as_text, csv_names
from sid_jax.data.reason import reason
from sid_jax.errors import UserError
from sid_jax.export.common_items import comparable

_COUNTS = "impressions"


def read_impressions(path: Path, item_ids: np.ndarray, id_column: str = "item_id") -> np.ndarray:
    """Returns how often each of `[N]` items is seen, `[N]` int64; 0 for an item that the file does not have.

    Args:
      path: a .parquet or .csv file. With a column `impressions`, whole numbers, a row says how often an item was seen,
        and several rows of an item are added up; without, each row is one impression. Items that are not among the N
        are left out. The ids of a .csv file are text, as they stand there.
      item_ids: `[N]`; matched as text where one side has numbers and the other text.
      id_column: of the item ids in the file; its first column if it has none of this name.

    Raises:
      UserError: if the file cannot be read, a number is negative or none, or none of its items is among the N.
    """
    readers: dict[str, Callable[[], pa.Table]] = {
        ".parquet": lambda: pq.read_table(path),
        ".csv": lambda: _read_csv(path, id_column),
    }
    if path.suffix not in readers or not path.is_file():
        raise UserError(f"--impressions={path}: give a .parquet or .csv file that is there")
    try:
        table = readers[path.suffix]()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable {path.suffix} file ({reason(error)}); write it anew") from error
    if not table.num_columns or not len(table):
        raise UserError(f"{path}: is empty; give a table with a column of item ids")
    ids_name = _ids_name(table.column_names, id_column)
    ids = table[ids_name]
    if ids.null_count:
        raise UserError(f"{path}: column {ids_name!r}: {ids.null_count} ids are null; leave such rows out")
    have, wanted = comparable(np.array(ids.to_pylist(), None if pa.types.is_integer(ids.type) else object), item_ids)
    rows = pc.index_in(have, value_set=wanted)
    known = rows.is_valid()
    if not pc.any(known).as_py():
        raise UserError(
            f"{path}: none of its items is among the {len(item_ids):,} with Semantic IDs, which are like "
            f"{str(item_ids[0])!r}; name the column of ids {id_column!r}, or put it first"
        )
    counts = _counts(table, path)
    return np.bincount(rows.drop_null().to_numpy(), counts[known.to_numpy(False)], len(item_ids)).astype(np.int64)


def _read_csv(path: Path, id_column: str) -> pa.Table:
    names = csv_names(path)
    counts = [name for name in names if name == _COUNTS]
    return pa_csv.read_csv(path, convert_options=as_text([_ids_name(names, id_column)], guessed=counts))


def _ids_name(names: Sequence[str], id_column: str) -> str:
    return id_column if id_column in names else names[0]


def _counts(table: pa.Table, path: Path) -> np.ndarray:
    if _COUNTS not in table.column_names:
        return np.ones(len(table), np.int64)
    column = table[_COUNTS]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise UserError(f"{path}: column {_COUNTS!r}: expected whole numbers without gaps, found {column.type}")
    counts = column.to_numpy()
    if counts.min() < 0:
        row = int(np.argmin(counts))
        raise UserError(f"{path}: column {_COUNTS!r}: row {row} from 0 has {counts[row]}; give 0 or more")
    return counts
