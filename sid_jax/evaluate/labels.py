"""What each item is called: a column of labels from somebody's table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from sid_jax.data.csv_columns import as_text, csv_names
from sid_jax.data.id_lists import catalog_rows
from sid_jax.data.reason import reason
from sid_jax.errors import UserError


def _read_csv(path: Path) -> pa.Table:
    return pa_csv.read_csv(path, convert_options=as_text(csv_names(path)))


_READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".parquet": pq.read_table,
    ".csv": _read_csv,
    ".jsonl": pa_json.read_json,
}


def read_labels(source: str, item_ids: np.ndarray) -> list[Sequence[str]]:
    """Reads the labels of a catalog's items.

    Args:
      source: FILE:COLUMN. The file's first column has item ids; the labels are texts, lists of texts, or texts with
        "|" between labels.
      item_ids: `[N]`; ids are matched as text.

    Returns:
      N lists; an item that the file does not have has no label.

    Raises:
      UserError: if the file cannot be read, or has no such column.
    """
    name, colon, column = source.rpartition(":")
    path = Path(name).expanduser()
    if not colon or path.suffix not in _READERS or not path.is_file():
        raise UserError(f"--labels={source}: give FILE:COLUMN with a .parquet, .csv or .jsonl file that is there")
    try:
        table = _READERS[path.suffix](path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable {path.suffix} file ({reason(error)}); write it anew") from error
    if column not in table.column_names:
        raise UserError(f"{path}: no column {column!r}; its columns are {', '.join(table.column_names)}")
    rows = catalog_rows(map(str, table.column(0).to_pylist()), item_ids)
    labels: list[Sequence[str]] = [()] * len(item_ids)
    for row, value in zip(rows.tolist(), table[column].to_pylist(), strict=True):
        if row >= 0:
            labels[row] = _label_list(value)
    return labels


def _label_list(value: Any) -> Sequence[str]:
    if value is None:
        return ()
    if isinstance(value, list):
        return [str(each) for each in value if each is not None]
    return [label for label in str(value).split("|") if label]
