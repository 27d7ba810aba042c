"""Who reviewed what, and when: reviews into histories."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sid_jax.data.catalogs.records import read_records
from sid_jax.data.histories import Histories, offsets_of
from sid_jax.data.text.template import clean
from sid_jax.errors import UserError

# 2014 and 2018; 2023, whose items are the parents of variants such as colors.
_USER = ("reviewerID", "user_id")
_TIME = ("unixReviewTime", "timestamp")
ITEM = ("parent_asin", "asin")


def read_reviews(path: Path, *, core: int) -> Histories:
    """Reads a file of reviews, one a line.

    A user who reviewed an item more than once counts once for it, by the earliest review. Users and items with fewer
    than `core` interactions are then left out, again and again, until there are none (the k-core).

    Args:
      path: in the layout of 2014, 2018 or 2023.
      core: k; 0 or 1 keeps all.

    Returns:
      The histories: users in the order in which the file first names them; each user's items by time, and in the
      file's order where times are equal; the catalog's items in the order in which the histories name them.

    Raises:
      UserError: if the file is damaged, a review has no user, item or time, or nothing is left.
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
        raise UserError(f"{path}: holds no reviews")
    order = np.lexsort((np.frombuffer(times, np.int64), np.frombuffer(users, np.int32)))
    user_of, item_of = (np.frombuffer(numbers, np.int32)[order] for numbers in (users, items))
    user_of, item_of = _core(*_earliest(user_of, item_of), core)
    if not len(user_of):
        raise UserError(
            f"{path}: no users and items have {core} interactions with each other; set a smaller --config.data.core"
        )
    return _histories(user_of, item_of, list(user_rows), list(item_rows))


def field(record: Mapping[str, Any], names: tuple[str, ...], where: str) -> str:
    """Returns the first of the fields that is there.

    Raises:
      UserError: if none is, or it is no text that can be written.
    """
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
    """Returns the interactions, sorted by user and time, without those with an item that came before."""
    pairs = users.astype(np.int64) * (int(items.max()) + 1) + items
    first = np.sort(np.unique(pairs, return_index=True)[1])
    return users[first], items[first]


def _core(users: np.ndarray, items: np.ndarray, core: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the largest part in which every user and every item has `core` interactions or more."""
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
