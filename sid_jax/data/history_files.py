"""Histories in files: a line a user, or a row an interaction."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from sid_jax.data.arrow_columns import encoded_ids, refuse_nulls
from sid_jax.data.histories import Histories, offsets_of
from sid_jax.data.id_lists import Names, catalog_rows, known_items, read_lines
from sid_jax.data.tables import TABLE_ENDINGS, read_columns
from sid_jax.errors import UserError, shown
from sid_jax.paths import as_path

_TIME_KINDS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_timestamp, pa.types.is_date)


def read_sequences(path: Path, item_ids: np.ndarray, *, on_unknown: str = "error", option: str = "") -> Histories:
    """Reads a text file with a line for each user: the user's id, then item ids in time order, with blanks between.

    Args:
      path: UTF-8 text.
      item_ids: `[N]` ids of the catalog, int64 or object (str); an id in the file is matched against their text.
      on_unknown, option: as of `known_items`.

    Returns:
      The histories; user ids are kept as text.

    Raises:
      UserError: if the file is missing, empty or not text, a line has no item, two lines are of one user, or an item is
        not in the catalog.
    """
    fields = [line.split() for line in read_lines(path)]
    for number, words in enumerate(fields, 1):
        if len(words) < 2:
            raise UserError(f"{path}: line {number} has no item; give a user id, then item ids, with blanks between")
    _refuse_second_lines([words[0] for words in fields], path)
    offsets = offsets_of([len(words) - 1 for words in fields])
    words = list(chain.from_iterable(words[1:] for words in fields))
    histories = Histories(_text_ids(words[0] for words in fields), offsets, catalog_rows(words, item_ids), item_ids)
    return without_unknown(
        histories,
        on_unknown,
        lambda place: f"{path}: line {histories.user_of(place) + 1}: item {words[place]!r}",
        words,
        option,
    )


def read_interactions(
    path: Path,
    item_ids: np.ndarray,
    user_column: str,
    item_column: str,
    time_column: str,
    *,
    on_unknown: str = "error",
    option: str = "",
) -> Histories:
    """Reads files of tables with a row for each interaction, in any order; else as `histories_of_table`.

    Ids in a .csv file are strings. Raises UserError also if the file cannot be read or lacks a column.
    """
    names = (user_column, item_column, time_column)
    if len(set(names)) < len(names):
        raise UserError(f"{path}: users, items and times must be in different columns, not {', '.join(names)}")
    table = read_columns(path, names[:2], guessed=names[2:])
    return histories_of_table(table, item_ids, *names, where=str(path), on_unknown=on_unknown, option=option)


def read_histories(
    text: str | Path,
    item_ids: np.ndarray,
    columns: tuple[str, str, str],
    *,
    on_unknown: str = "error",
    option: str = "",
) -> Histories:
    """Reads interactions from files of tables or a folder of them, and otherwise sequences from a text file."""
    path = as_path(text)
    if path.suffix in TABLE_ENDINGS or path.is_dir():
        return read_interactions(path, item_ids, *columns, on_unknown=on_unknown, option=option)
    return read_sequences(path, item_ids, on_unknown=on_unknown, option=option)


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
    """Makes histories of a table with a row for each interaction, in any order.

    Args:
      table: with the columns.
      item_ids: `[N]` ids of the catalog, int64 or object (str); an item of the table is matched against their text.
      user_column, item_column: of strings or integers.
      time_column: of numbers, dates or timestamps; None if the rows are in time order.
      where: what an error calls the table.
      on_unknown, option: as of `known_items`.

    Returns:
      The histories: users in the order of their ids, interactions by time and, where times are equal, by the item's id:
      the order of the rows says nothing. Without a time column they stay in the order of the rows.

    Raises:
      UserError: if the table is empty, a column is of the wrong type, a value is null, or an item is not in the
        catalog.
    """
    if not table.num_rows:
        raise UserError(f"{where}: holds no rows; give a row for each interaction")
    times = np.arange(len(table)) if time_column is None else _times(table[time_column], _column(where, time_column))
    user_of_row, user_ids = encoded_ids(table[user_column], _column(where, user_column))
    item_of_row, items_there = encoded_ids(table[item_column], _column(where, item_column))
    names = list(map(str, items_there.tolist()))
    rows = catalog_rows(names, item_ids)[item_of_row]
    # Before the rows are sorted: an error names a row of the table.
    known = known_items(
        rows,
        item_ids,
        on_unknown,
        lambda row: f"{where}: {_row_from_0(row)}: item {names[item_of_row[row]]!r}",
        lambda row: names[item_of_row[row]],
        option,
    )

    by_id, rank = _ranked(user_ids)
    order = np.lexsort((_ranked(items_there)[1][item_of_row], times, rank[user_of_row]))
    offsets = offsets_of(np.bincount(rank[user_of_row], minlength=len(user_ids)))
    histories = Histories(user_ids[by_id], offsets, rows[order], item_ids, num_tied=_num_tied(times[order], offsets))
    return _keeping(histories, known[order])


def without_unknown(
    histories: Histories, on_unknown: str, describe: Callable[[int], str], names: Names, option: str = ""
) -> Histories:
    """Returns histories whose items are all in the catalog.

    Args:
      histories: with -1 for an item that is not in the catalog.
      on_unknown, describe, names, option: as of `known_items`.

    Raises:
      UserError: as of `known_items`.
    """
    return _keeping(histories, known_items(histories.items, histories.item_ids, on_unknown, describe, names, option))


def _keeping(histories: Histories, known: np.ndarray) -> Histories:
    if known.all():
        return histories
    return dataclasses.replace(histories.keep_interactions(known), num_unknown=int((~known).sum()))


def in_catalog(
    histories: Histories, item_ids: np.ndarray, what: str, on_unknown: str = "error", option: str = ""
) -> Histories:
    """Returns histories of any catalog as histories of one.

    Args:
      histories: whose items are matched by their ids' text.
      item_ids: `[N]` ids of the catalog, in any order.
      what: what an error calls an item, as "histories: item".
      on_unknown, option: as of `known_items`.

    Raises:
      UserError: if an item that somebody took is not in the catalog.
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
    """Returns the order of distinct ids, and the place of each in it."""
    order = np.argsort(ids, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return order, rank


def _num_tied(times: np.ndarray, offsets: np.ndarray) -> int:
    """Returns how many times of runs in order are those of a neighbor in the same run."""
    same = np.concatenate([[False], times[1:] == times[:-1], [False]])
    same[offsets] = False
    return int((same[1:] | same[:-1]).sum())


def _text_ids(names: Iterable[str]) -> np.ndarray:
    return np.array(list(names), dtype=object)  # Objects, which numpy cannot cut to a fixed width.


def _refuse_second_lines(users: list[str], path: Path) -> None:
    first_line: dict[str, int] = {}
    for number, user in enumerate(users, 1):
        if first_line.setdefault(user, number) != number:
            raise UserError(
                f"{path}: line {number} is of user {user!r}, as is line {first_line[user]}; give each user one line"
            )


def _column(where: str, column: str) -> str:
    return f"{where}: column {column!r}"


def _row_from_0(row: int) -> str:
    return f"row {row} (counted from 0)"


def _times(column: pa.ChunkedArray, where: str) -> np.ndarray:
    kind = column.type
    if not any(is_kind(kind) for is_kind in _TIME_KINDS):
        raise UserError(f"{where}: expected times that are numbers, dates or timestamps, found {kind}")
    refuse_nulls(column, where)
    times = column.to_numpy()
    unordered = np.flatnonzero(np.isnan(times)) if pa.types.is_floating(kind) else np.empty(0, np.int64)
    if len(unordered):
        raise UserError(
            f"{where}: {_row_from_0(unordered[0])} is NaN, and {len(unordered)} in all; leave out these rows"
        )
    return times
