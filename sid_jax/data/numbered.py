"""Maps the item numbers in another tool's files to item ids, using the list of ids in the folder of these files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.data.arrow_columns import ids_from_arrow
from sid_jax.data.id_lists import numbers_if_whole, read_id_list
from sid_jax.data.parts.part import reading
from sid_jax.errors import UserError

ITEM_IDS_FILE, USER_IDS_FILE = "item_ids.parquet", "user_ids.parquet"
# File names of a list of item ids, in order of preference. `convert` writes a list under the first name.
LISTS = (ITEM_IDS_FILE, "item_ids.txt")
# Subfolders in which MiniOneRec and GRID write files of item numbers; the list of ids is in the folder above them.
_SUBFOLDERS = ("info", "training", "evaluation", "testing")


def write_ids(path: Path, ids: Any) -> None:
    """Writes ids `[N]`, integers or text, as a table with the columns `number` and `item_id` (or `user_id`)."""
    pq.write_table(pa.table({"number": np.arange(len(ids)), path.stem.removesuffix("s"): ids}), path)


def list_beside(path: Path) -> Path | None:
    """Returns the path of the list of item ids in a file's folder; None if there is no list.

    If the file is in one of the `_SUBFOLDERS`, and this folder has no list, the list in the folder above is used.
    """
    folders = [path.parent, path.parent.parent] if path.parent.name in _SUBFOLDERS else [path.parent]
    files = (folder / name for folder in folders for name in LISTS)
    return next((file for file in files if file.is_file() and file != path), None)


def ids_of_rows(path: Path, num_rows: int) -> np.ndarray:
    """Returns the item ids `[N]` of a file that has only codes.

    The ids come from the list of ids in the file's folder. Without a list, they are the row numbers.

    Raises:
      UserError: if the list is damaged or has unexpected columns, or does not have one id per row.
    """
    file = list_beside(path)
    if file is None:
        return np.arange(num_rows)
    ids, _ = read_list(file)
    if len(ids) != num_rows:
        raise UserError(
            f"{path}: has {num_rows:,} items, but {file} has {len(ids):,} ids; give one id per item, or rename the "
            "file of ids if it belongs to another catalog"
        )
    return ids


def ids_of_numbers(path: Path, numbers: np.ndarray) -> np.ndarray:
    """Returns the ids of item numbers `[n]` in a file; the numbers themselves if the folder has no list of ids.

    If the folder's list has integer ids but no item numbers, the numbers in the file are taken as ids.

    Raises:
      UserError: if the list is damaged or has unexpected columns, or a number is not in it.
    """
    file = list_beside(path) if numbers.dtype.kind == "i" else None
    if file is None:
        return numbers
    ids, numbered = read_list(file)
    if not numbered and ids.dtype.kind == "i":
        _check_are_ids(path, numbers, file, ids)
        return numbers
    wrong = numbers[(numbers < 0) | (numbers >= len(ids))]
    if len(wrong):
        raise UserError(
            f"{path}: item {wrong[0]} is not one of the {len(ids)} items in {file}, so the two files are of different "
            "catalogs; remove or rename the file of ids"
        )
    return ids[numbers]


def read_list(file: Path) -> tuple[np.ndarray, bool]:
    """Reads a list of item ids: the ids `[N]`, and whether the list also has their numbers.

    Args:
      file: a Parquet file, or a UTF-8 text file with one id per line. Ids in a text file are integers if all are
        whole numbers.

    Raises:
      UserError: if the file is damaged or has unexpected columns, or its rows are not in the order of their numbers.
    """
    if file.suffix == ".txt":
        return numbers_if_whole(read_id_list(file)), False
    with reading(file, ".parquet"):
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
    numbered = {"number", "item_id"} <= set(names)
    if not numbered and len(names) != 1:
        raise UserError(
            f"{file}: expected item ids for the files of its folder, found the columns {', '.join(names)}; give the "
            "columns number (0, 1, 2, ...) and item_id, or only a column of item ids, or rename the file"
        )
    with reading(file, ".parquet"):
        table = parquet.read(["number", "item_id"] if numbered else names)
        if numbered and not np.array_equal(table["number"].to_numpy(), np.arange(len(table))):
            raise ValueError("its numbers are not 0, 1, 2, ...")
    return ids_from_arrow(table[names[0] if not numbered else "item_id"], f"{file}: the ids"), numbered


def _check_are_ids(path: Path, numbers: np.ndarray, file: Path, ids: np.ndarray) -> None:
    # Item numbers and item ids are both integers here. If item numbers were taken for ids, items would get wrong data.
    strange = numbers[~np.isin(numbers, ids)]
    if len(strange):
        raise UserError(
            f"{path}: item {strange[0]} is not among the ids in {file}; if {path.name} has item numbers from 0, add a "
            "column number (0, 1, 2, ...) to the file of ids; otherwise, rename the file of ids"
        )
