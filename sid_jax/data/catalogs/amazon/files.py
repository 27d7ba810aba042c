"""Reads files of Amazon reviews (interaction histories) and of product metadata."""

from __future__ import annotations

import html
import math
import re
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sid_jax.data.histories import Histories, offsets_of
from sid_jax.data.json_records import read_records
from sid_jax.data.text.template import clean
from sid_jax.errors import UserError

# Possible names of each field in the editions of 2014, 2018 and 2023. In the edition of 2023, the variants of a product
# (such as colors) have the same `parent_asin` and count as one item.
_USER = ("reviewerID", "user_id")
_TIME = ("unixReviewTime", "timestamp")
ITEM = ("parent_asin", "asin")
SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("price", pa.float64()),
        ("description", pa.string()),
    ]
)
# This pattern finds the item id in a raw line, so that lines of items that are not needed are not parsed.
_NAMED = re.compile(rb"""["'](?:parent_)?asin["']\s*:\s*["']([^"']+)["']""")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_PRICE = re.compile(r"\$?\s*(\d[\d,]*(?:\.\d+)?)(?:\s*-\s*\$?\s*\d[\d,]*(?:\.\d+)?)?")
# Some titles in the edition of 2018 are fragments of a web page's script; they are recognized by this text.
_NO_TITLE = "getTime"


def read_reviews(path: Path, *, core: int) -> Histories:
    """Reads a file of reviews, one per line.

    A user who reviewed an item several times has one interaction with it, at the time of the earliest review. Users and
    items with fewer than `core` interactions are removed until every remaining user and item has at least `core`
    interactions (the k-core).

    Args:
      path: a file in the layout of the edition of 2014, 2018 or 2023.
      core: k of the k-core; 0 or 1 removes nothing.

    Returns:
      The histories: users in the order of their first review in the file; each user's items by time, and in file order
      if times are equal; the catalog's items in the order in which the histories first name them.

    Raises:
      UserError: if the file is damaged, a review has no user, item or time, or no interaction is left.
    """
    user_rows: dict[str, int] = {}
    item_rows: dict[str, int] = {}
    users, items, times = array("i"), array("i"), array("q")
    for number, record in read_records(path):
        where = f"{path}: line {number}"
        users.append(user_rows.setdefault(field(record, _USER, where), len(user_rows)))
        items.append(item_rows.setdefault(field(record, ITEM, where), len(item_rows)))
        times.append(_time(record, where))
    if not users:
        raise UserError(f"{path}: has no reviews; give the file as its authors publish it")
    order = np.lexsort((np.frombuffer(times, np.int64), np.frombuffer(users, np.int32)))
    user_of, item_of = (np.frombuffer(numbers, np.int32)[order] for numbers in (users, items))
    user_of, item_of = _core(*_earliest(user_of, item_of), core)
    if not len(user_of):
        raise UserError(
            f"{path}: no item is left when each user and item must have at least {core} interactions; set a smaller "
            "--config.data.core"
        )
    return _histories(user_of, item_of, list(user_rows), list(item_rows))


def field(record: Mapping[str, Any], names: tuple[str, ...], where: str) -> str:
    """Returns the value of the first field in `names` that the record has; raises UserError if it is not valid text."""
    value = next((record[name] for name in names if name in record), None)
    if not isinstance(value, str) or not value or clean(value) != value:
        raise UserError(f"{where} has no {' or '.join(names)}; give the file as its authors publish it")
    return value


def _time(record: Mapping[str, Any], where: str) -> int:
    value = next((record[name] for name in _TIME if name in record), None)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 2**62:
        raise UserError(f"{where} has no {' or '.join(_TIME)}; give the file as its authors publish it")
    return int(value)


def _earliest(users: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns each user's first interaction with each item, from interactions sorted by user and time."""
    pairs = users.astype(np.int64) * (int(items.max()) + 1) + items
    first = np.sort(np.unique(pairs, return_index=True)[1])
    return users[first], items[first]


def _core(users: np.ndarray, items: np.ndarray, core: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k-core: the largest subset in which every user and every item has `core` interactions or more."""
    while len(users):
        kept = (np.bincount(users)[users] >= core) & (np.bincount(items)[items] >= core)
        if kept.all():
            break
        users, items = users[kept], items[kept]
    return users, items


def _histories(users: np.ndarray, items: np.ndarray, user_names: list[str], item_names: list[str]) -> Histories:
    there, counts = np.unique(users, return_counts=True)
    found, first, rows = np.unique(items, return_index=True, return_inverse=True)
    by_appearance = np.argsort(first)
    rank = np.empty(len(found), np.int32)
    rank[by_appearance] = np.arange(len(found), dtype=np.int32)
    return Histories(
        user_ids=np.array([user_names[user] for user in there], dtype=object),
        offsets=offsets_of(counts),
        items=rank[rows],
        item_ids=np.array([item_names[item] for item in found[by_appearance]], dtype=object),
    )


def read_metadata(path: Path, item_ids: np.ndarray) -> tuple[pa.Table, int]:
    """Reads the metadata of the given items; lines of other items are skipped, most of them without parsing.

    Args:
      path: a file in the layout of the edition of 2014, 2018 or 2023.
      item_ids: `[N]` object (str).

    Returns:
      A table with `SCHEMA`, one row per item in the order of `item_ids`, and the number of items with a record in the
      file. If an item has two records, the first one counts; unknown fields are empty. The root of each category path,
      which all items share, is omitted. HTML is removed from texts. A price range becomes its lower end.

    Raises:
      UserError: if the file is damaged.
    """
    wanted = {item_id.encode() for item_id in item_ids}
    found: dict[str, dict[str, Any]] = {}
    for number, record in read_records(path, lambda line: _may_be_wanted(line, wanted)):
        item_id = field(record, ITEM, f"{path}: line {number}")
        if item_id.encode() in wanted and item_id not in found:
            found[item_id] = _item(record)
    rows = [{"item_id": item_id, **found.get(item_id, _item({}))} for item_id in item_ids]
    return pa.Table.from_pylist(rows, SCHEMA), len(found)


def _may_be_wanted(line: bytes, wanted: set[bytes]) -> bool:
    names = _NAMED.findall(line)
    return not names or any(name in wanted for name in names)


def _item(record: Mapping[str, Any]) -> dict[str, Any]:
    title = _plain(record.get("title"))
    return {
        "title": "" if _NO_TITLE in title else title,
        "brand": _plain(record.get("brand") or record.get("store")),
        "categories": _categories(record),
        "price": _price(record.get("price")),
        "description": _plain(record.get("description")),
    }


def _plain(value: Any) -> str:
    """Returns a text, or the joined texts of a list, with decoded entities and without tags and line breaks."""
    if isinstance(value, (list, tuple)):
        return " ".join(text for text in map(_plain, value) if text)
    return " ".join(html.unescape(_TAG.sub(" ", clean(value))).split()) if isinstance(value, str) else ""


def _categories(record: Mapping[str, Any]) -> list[str]:
    paths = record.get("categories") or record.get("category") or []
    if not isinstance(paths, (list, tuple)):
        return []
    # The edition of 2014 has a list of category paths; later editions have a single category path.
    paths = paths if paths and isinstance(paths[0], (list, tuple)) else [paths]
    names = [_plain(name) for path in paths if isinstance(path, (list, tuple)) for name in path[1:]]
    return [name for name in names if name]


def _price(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else None
    match = _PRICE.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1].replace(",", "")) if match else None
