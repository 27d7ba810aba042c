"""Maps the item numbers in another tool's files to item ids, by the list of ids in the files' folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.data.arrow_columns import ids_from_arrow
from sid_jax.data.parts.part import reading
from sid_jax.errors import UserError

ITEM_IDS_FILE, USER_IDS_FILE = "item_ids.parquet", "user_ids.parquet"
# Subfolders in which MiniOneRec and GRID write files of item numbers; the list of ids is in the folder above them.
_SUBFOLDERS = ("info", "training", "evaluation", "testing")


def write_ids(path: Path, ids: Any) -> None:
    """Writes ids `[N]`, integers or text, as a table with the columns `number` and `item_id` (or `user_id`)."""
    pq.write_table(pa.table({"number": np.arange(len(ids)), path.stem.removesuffix("s"): ids}), path)


def ids_beside(path: Path) -> np.ndarray | None:
    """Returns the ids `[N]` that item numbers in a file refer to, from the list in its folder; None without a list.

    For files in subfolders that some tools write, the list is in the folder above. A file with the list's name but
    other columns is a file of the user, and is ignored.

    Raises:
      UserError: if the list is damaged, or its rows are not in the order of their numbers.
    """
    file = path.parent / ITEM_IDS_FILE
    if path.parent.name in _SUBFOLDERS and not file.is_file():
        file = path.parent.parent / ITEM_IDS_FILE
    if path == file or not file.is_file():
        return None
    with reading(file, ".parquet"):
        parquet = pq.ParquetFile(file)
        if not {"number", "item_id"} <= set(parquet.schema_arrow.names):
            return None
        table = parquet.read(["number", "item_id"])
        if not np.array_equal(table["number"].to_numpy(), np.arange(len(table))):
            raise ValueError("its numbers are not 0, 1, 2, ...")
    return ids_from_arrow(table["item_id"], f"{file}: column 'item_id'")


def ids_of_numbers(path: Path, numbers: np.ndarray) -> np.ndarray:
    """Returns the ids of item numbers `[n]` in a file; the numbers themselves if the folder has no list of ids.

    Raises:
      UserError: if a number is not in the list.
    """
    ids = ids_beside(path) if numbers.dtype.kind == "i" else None
    if ids is None:
        return numbers
    wrong = numbers[(numbers < 0) | (numbers >= len(ids))]
    if len(wrong):
        raise UserError(
            f"{path}: item {wrong[0]} is not one of the {len(ids)} items in {ITEM_IDS_FILE} of this folder, so the two "
            f"files are of different catalogs; remove {ITEM_IDS_FILE}"
        )
    return ids[numbers]
