"""Item ids: no two alike, found in a catalog, and named in a text file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.errors import UserError, reason, shown


def read_item_list(path: Path, item_ids: np.ndarray) -> np.ndarray:
    """Reads which items a UTF-8 text file names, one id a line.

    Args:
      path: the file.
      item_ids: `[N]` ids of the catalog, int64 or object (str); an id in the file is matched against their text.

    Returns:
      `[N]` bool.

    Raises:
      UserError: if the file is missing or empty, or an item is not in the catalog.
    """
    names = [line.strip() for line in read_lines(path)]
    rows = catalog_rows(names, item_ids)
    refuse_strangers(rows, item_ids, lambda place: f"{path}: line {place + 1}: item {names[place]!r}")
    named = np.zeros(len(item_ids), bool)
    named[rows] = True
    return named


def check_cold(cold: np.ndarray, where: str) -> np.ndarray:
    """Returns `[N]` bool, the items that are not trained on; raises UserError if they are all there are."""
    if cold.all():
        raise UserError(f"{where}: names every item, so that none is left to train on")
    return cold


def read_lines(path: Path, *, allow_empty: bool = False) -> list[str]:
    """Returns the lines of a UTF-8 file, without empty ones at its end; UserError if it is unreadable or empty."""
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({reason(error)}); give a text file") from error
    if not text and not allow_empty:
        raise UserError(f"{path}: is empty; give a file with a line for each entry")
    return text.split("\n") if text else []


def catalog_rows(names: Iterable[str], item_ids: np.ndarray) -> np.ndarray:
    """Returns the rows of `[N]` item ids whose text the n names are: `[n]` int32, -1 for a name that is none."""
    row_of = {str(item_id): row for row, item_id in enumerate(item_ids.tolist())}
    return np.fromiter((row_of.get(name, -1) for name in names), np.int32)


def refuse_strangers(rows: np.ndarray, item_ids: np.ndarray, describe: Callable[[int], str]) -> None:
    """Raises UserError, naming the first, if an item is not in the catalog.

    Args:
      rows: `[n]` from `catalog_rows`.
      item_ids: `[N]` ids of the catalog.
      describe: from a place in `rows` to words: the file, the line or row, and the item's name.
    """
    strange = np.flatnonzero(rows < 0)
    if len(strange):
        raise UserError(
            f"{describe(int(strange[0]))} is not in the catalog, whose ids are like {str(item_ids[0])!r}; in all, "
            f"{len(strange)} of {len(rows)} items are not: leave them out, or add them to the catalog"
        )


def check_unique(ids: np.ndarray, where: str) -> None:
    """Raises UserError, naming the first id that came before and its two rows, unless all `[N]` ids differ."""
    if ids.dtype.kind in "iu" and np.all(ids[1:] > ids[:-1]):
        return  # As row numbers are: without a table of all of them.
    if pc.count_distinct(pa.array(ids)).as_py() == len(ids):
        return
    first_row: dict[object, int] = {}
    for row, item_id in enumerate(ids.tolist()):
        if item_id in first_row:
            raise UserError(
                f"{where}: id {shown(item_id)} is in row {first_row[item_id]} and again in row {row} (rows count from "
                "0); give each item one row"
            )
        first_row[item_id] = row
