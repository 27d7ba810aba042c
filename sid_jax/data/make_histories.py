"""Makes histories over a catalog from lists, from tables, or from histories over another catalog."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from sid_jax.data.arrays import UNORDERED, as_ids
from sid_jax.data.arrow_columns import encoded_ids, plain, refuse_nulls
from sid_jax.data.histories import Histories, offsets_of
from sid_jax.data.id_lists import Names, catalog_rows, known_items
from sid_jax.errors import UserError, shown

_TIME_KINDS = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_timestamp,
    pa.types.is_date,
    pa.types.is_duration,
)
# Times of these types are converted to the first type in `_PARSED_AS` to which all times of a column can be cast.
_CAST_KINDS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_decimal)
# What the numbers in messages about unknown items count.
_UNKNOWN = "interactions have unknown items"
_PARSED_AS = (pa.int64(), pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC"))


def histories_of_lists(
    users: np.ndarray, lists: Sequence[Any], item_ids: np.ndarray, on_unknown: str, where: str, option: str = ""
) -> Histories:
    """Returns the histories of U users, each history given as a sequence of item ids in time order.

    Args:
      users: `[U]` ids of the users, int64 or object (str).
      lists: U sequences of ids, all integers or all text.
      item_ids: `[N]` ids of the catalog; ids are compared as text.
      where: name of the lists in error messages.
      on_unknown, option: see `known_items`.

    Raises:
      UserError: if a user's items are not a list of ids; see also `known_items`.
    """
    taken = [_items_of(each, user, where) for user, each in zip(users.tolist(), lists, strict=True)]
    offsets = offsets_of([len(each) for each in taken])
    names = as_ids(list(chain.from_iterable(taken)), f"{where}: the items") if offsets[-1] else np.empty(0, object)
    encoded = pa.array(names).dictionary_encode()
    rows = catalog_rows(map(str, encoded.dictionary.to_pylist()), item_ids)[encoded.indices.to_numpy()]
    histories = Histories(users, offsets, rows, item_ids)

    def describe(place: int) -> str:
        return f"{where}: user {shown(users.tolist()[histories.user_of(place)])}: item {shown(names[place])}"

    return without_unknown(histories, on_unknown, describe, names, option)


def _items_of(items: Any, user: int | str, where: str) -> list[Any]:
    if isinstance(items, (str, bytes, Mapping, *UNORDERED)) or not hasattr(items, "__iter__"):
        raise UserError(
            f"{where}: user {shown(user)} has {shown(items)}, which is not a list; give each user a list of item ids"
        )
    return items.tolist() if hasattr(items, "tolist") else list(items)


def histories_of_table(
    table: pa.Table,
    item_ids: np.ndarray,
    user_column: str,
    item_column: str,
    time_column: str | None,
    *,
    where: str,
    on_unknown: str = "error",
    option: str = "",
) -> Histories:
    """Returns the histories of a table with one row per interaction, in any order.

    Args:
      table: the table of interactions.
      item_ids: `[N]` ids of the catalog, int64 or object (str); ids are compared as text.
      user_column, item_column: columns of strings or integers.
      time_column: column of numbers, dates or timestamps, which may be stored as text; None if the rows are in time
        order.
      where: name of the table in error messages.
      on_unknown, option: see `known_items`.

    Returns:
      The histories. Users are in the order of their ids. Interactions are sorted by time and, for equal times, by item
      id, so the order of the rows has no effect. Without a time column, interactions stay in the order of the rows.

    Raises:
      UserError: if the table is empty, a column has the wrong type, or a value is null; see also `known_items`.
    """
    if not table.num_rows:
        raise UserError(f"{where}: has no rows; give one row per interaction")
    times = (
        np.arange(len(table)) if time_column is None else _times(table[time_column], column_name(where, time_column))
    )
    user_of_row, user_ids = encoded_ids(table[user_column], column_name(where, user_column))
    item_of_row, items_there = encoded_ids(table[item_column], column_name(where, item_column))
    names = list(map(str, items_there.tolist()))
    rows = catalog_rows(names, item_ids)[item_of_row]
    # Unknown items are found before the rows are sorted, since errors name the row numbers of the table.
    known = known_items(
        rows,
        item_ids,
        on_unknown,
        lambda row: f"{where}: {_row_from_0(row)}: item {names[item_of_row[row]]!r}",
        lambda row: names[item_of_row[row]],
        option,
        things=_UNKNOWN,
    )

    by_id, rank = _ranked(user_ids)
    order = np.lexsort((_ranked(items_there)[1][item_of_row], times, rank[user_of_row]))
    offsets = offsets_of(np.bincount(rank[user_of_row], minlength=len(user_ids)))
    histories = Histories(user_ids[by_id], offsets, rows[order], item_ids, num_tied=_num_tied(times[order], offsets))
    return _keeping(histories, known[order])


def without_unknown(
    histories: Histories, on_unknown: str, describe: Callable[[int], str], names: Names, option: str = ""
) -> Histories:
    """Returns histories without the items that are not in the catalog.

    Args:
      histories: the histories, in which -1 stands for an item that is not in the catalog.
      on_unknown, describe, names, option: see `known_items`.

    Raises:
      UserError: see `known_items`.
    """
    rows, item_ids = histories.items, histories.item_ids
    return _keeping(histories, known_items(rows, item_ids, on_unknown, describe, names, option, things=_UNKNOWN))


def _keeping(histories: Histories, known: np.ndarray) -> Histories:
    if known.all():
        return histories
    return dataclasses.replace(histories.keep_interactions(known), num_unknown=int((~known).sum()))


def in_catalog(
    histories: Histories, item_ids: np.ndarray, what: str, on_unknown: str = "error", option: str = ""
) -> Histories:
    """Converts histories over one catalog to histories over another catalog.

    Args:
      histories: the histories; their items are matched by the text of their ids.
      item_ids: `[N]` ids of the catalog, in any order.
      what: name of an item in error messages, such as "histories: item".
      on_unknown, option: see `known_items`.

    Raises:
      UserError: see `known_items`.
    """
    names = histories.item_ids.tolist()
    rows = catalog_rows(map(str, names), item_ids)[histories.items]
    return without_unknown(
        dataclasses.replace(histories, items=rows, item_ids=item_ids),
        on_unknown,
        lambda place: f"{what} {shown(names[histories.items[place]])}",
        lambda place: names[histories.items[place]],
        option,
    )


def _ranked(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sort order of distinct ids, and each id's rank in it."""
    order = np.argsort(ids, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return order, rank


def _num_tied(times: np.ndarray, offsets: np.ndarray) -> int:
    """Returns the number of interactions that have the same time as another interaction of the same user.

    The times are sorted by user, then by time; `offsets` are the positions at which the users' times begin.
    """
    same = np.concatenate([[False], times[1:] == times[:-1], [False]])
    same[offsets] = False
    return int((same[1:] | same[:-1]).sum())


def column_name(where: str, column: str) -> str:
    """Returns the name of a table's column in error messages."""
    return f"{where}: column {column!r}"


def _row_from_0(row: int) -> str:
    return f"row {row} (counted from 0)"


def _times(column: pa.ChunkedArray, where: str) -> np.ndarray:
    refuse_nulls(column, where)
    column = plain(column)
    found = column.type
    if any(is_kind(found) for is_kind in _CAST_KINDS):
        column = _parsed(column)
    kind = column.type
    if not any(is_kind(kind) for is_kind in _TIME_KINDS):
        raise UserError(
            f"{where}: expected times that are numbers, dates or timestamps, found {found}; write numbers, or times "
            "such as 2026-01-31T12:00:00, either all with a time zone or all without one"
        )
    times = column.to_numpy()
    unordered = np.flatnonzero(~np.isfinite(times)) if pa.types.is_floating(kind) else np.empty(0, np.int64)
    if len(unordered):
        value = {"nan": "NaN"}.get(str(times[unordered[0]]), times[unordered[0]])
        raise UserError(
            f"{where}: {_row_from_0(unordered[0])} is {value} (NaN or infinite rows: {len(unordered)}); remove "
            "these rows"
        )
    return times


def _parsed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Converts texts or decimals to numbers or timestamps; a column that fits none of these types is unchanged."""
    for kind in _PARSED_AS:
        # PyArrow raises ArrowNotImplementedError for a pair of types without a cast. The caller rejects a column that
        # is not converted.
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return column.cast(kind)
    return column
