"""Products that somebody has prepared: a folder with `items.jsonl` and `sequences.txt`, as many keep them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from sid_jax.data.catalogs.amazon.products import Products
from sid_jax.data.catalogs.own_tables import read_own_tables
from sid_jax.data.catalogs.records import read_records
from sid_jax.data.history_files import read_sequences
from sid_jax.data.reason import reason
from sid_jax.errors import UserError

ITEMS, SEQUENCES = "items.jsonl", "sequences.txt"
_IDS = ("item_id", "item")


def is_prepared(folder: Path) -> bool:
    """Returns whether the folder holds both files."""
    return (folder / ITEMS).is_file() and (folder / SEQUENCES).is_file()


def read_prepared(folder: Path) -> Products:
    """Reads the folder; users and items are those that it has, in its order.

    Args:
      folder: with `items.jsonl`, an object an item: its id as `item_id` or `item`, and what describes it (`title`,
        `brand`, `categories`, …; its `text`, where it has one); and `sequences.txt`, a line a user: the user, then
        items in time order.

    Raises:
      UserError: if a file is damaged or empty, or a sequence names an item that is not there.
    """
    path = folder / ITEMS
    first = next(read_records(path), (0, {}))[1]
    id_column = next((name for name in _IDS if name in first), _IDS[0])
    ids, columns = read_own_tables(str(path), id_column, [name for name in first if name != id_column])
    try:
        items = pa.table({"item_id": ids, **columns})
    except (pa.ArrowException, UnicodeError) as error:
        raise UserError(f"{path}: a field is of several types ({reason(error)}); give all its values one") from error
    return Products(items, read_sequences(folder / SEQUENCES, ids), source=str(folder))
