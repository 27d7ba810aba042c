"""Reads interaction histories from files: one line or list per user, or one row per interaction."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sid_jax.data.arrays import UNORDERED, as_ids
from sid_jax.data.arrow_columns import encoded_ids, plain, plain_ids, refuse_nulls
from sid_jax.data.histories import Histories, offsets_of
from sid_jax.data.id_lists import Names, catalog_rows, known_items, numbered_lines, numbers_if_whole
from sid_jax.data.listing import ending
from sid_jax.data.numbered import ids_beside, ids_of_numbers
from sid_jax.data.parts.part import reading
from sid_jax.data.tables import TABLE_ENDINGS, column_names, open_plain, read_columns
from sid_jax.data.tfrecord import read_tfrecords
from sid_jax.errors import UserError, shown
from sid_jax.paths import as_path

# Columns with a list of items in each user's row.
_LISTS = ("sequence_data", "item_id_list")
_JSON = (".json", ".json.gz")
_TIME_KINDS = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_timestamp,
    pa.types.is_date,
    pa.types.is_duration,
)
# Times of these types are converted to the first type in `_PARSED_AS` to which all times of a column can be cast.
_CAST_KINDS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_decimal)
_PARSED_AS = (pa.int64(), pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC"))


@dataclasses.dataclass(frozen=True)
class HistoryFile:
    """A file of interaction histories, see `read_histories`, and the names of its columns if it is a table.

    Attributes:
      path: the file.
      user_column, item_column, time_column: columns of a table.
      option: the option that drops unknown items, in error messages.
    """

    path: str | Path
    user_column: str = "user_id"
    item_column: str = "item_id"
    time_column: str = "timestamp"
    option: str = 'on_unknown="drop"'

    def read(self, item_ids: np.ndarray, on_unknown: str = "error") -> Histories:
        """Returns the histories over a catalog `[N]`; see `read_histories`."""
        columns = self.user_column, self.item_column, self.time_column
        return read_histories(self.path, item_ids, columns, on_unknown=on_unknown, option=self.option)


def read_sequences(
    path: Path,
    item_ids: np.ndarray,
    *,
    on_unknown: str = "error",
    option: str = "",
    table_columns: frozenset[str] = frozenset(("user_id", "item_id")),
) -> Histories:
    """Reads a text file with one line per user: the user's id, then item ids in time order, separated by spaces.

    Args:
      path: UTF-8 text.
      item_ids: `[N]` ids of the catalog, int64 or object (str); ids in the file are matched by their text.
      on_unknown, option: see `known_items`.
      table_columns: a file whose first line contains these words is a table, which is rejected.

    Returns:
      The histories; user ids are kept as text.

    Raises:
      UserError: if the file is missing, empty or not text, a line has no item, a user has two lines, or an item is not
        in the catalog.
    """
    lines = numbered_lines(path)
    fields = [line.split() for _, line in lines]
    if table_columns <= set(fields[0]):
        raise UserError(
            f"{path}: the first line names columns, so this is a table with one row per interaction; save it as .csv, "
            ".parquet or .feather"
        )
    for number, ((line, _), words) in enumerate(zip(lines, fields, strict=True), 1):
        if line > number or len(words) < 2:  # An empty line, or a user without items.
            raise UserError(
                f"{path}: line {number} has no item; write a user id and then item ids, separated by spaces"
            )
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
    """Reads files of tables with one row per interaction, in any order; see `histories_of_table`.

    Ids in a .csv file are strings. If there is no time column, a column of item lists in time order is read instead:
    `sequence_data`, as GRID and NVIDIA's recipe write it, or RecBole's `item_id_list`. If a user has several rows, the
    longest list is used. Also raises UserError if the file cannot be read or lacks a column.
    """
    names = (user_column, item_column, time_column)
    if len(set(names)) < len(names):
        raise UserError(f"{path}: users, items and times must be in different columns, not {', '.join(names)}")
    there = column_names(path) if path.is_file() and ending(path, TABLE_ENDINGS) in TABLE_ENDINGS else []
    listed = [name for name in _LISTS if name in there and time_column not in there]
    if listed:
        return _read_lists(path, item_ids, user_column, listed[0], there, on_unknown, option)
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
    """Reads histories from a file of any kind, which is recognized by its ending and its columns.

    A table file, or a folder of them, is read by `read_interactions`. A .json file, gzipped or not, is
    `{user: [items in time order]}`, such as the `inter.json` of MiniOneRec and LC-Rec. A .tfrecord file, or a folder of
    them, has GRID's `user_id` and `sequence_data`. Any other file is text, read by `read_sequences`.
    """
    path = as_path(text)
    if ending(path, _JSON) in _JSON:
        return _read_json(path, item_ids, on_unknown, option)
    if examples := sorted(path.glob("*.tfrecord*")) if path.is_dir() else [path] if ".tfrecord" in path.name else []:
        return _read_examples(examples, item_ids, on_unknown, option)
    if ending(path, TABLE_ENDINGS) in TABLE_ENDINGS or path.is_dir():
        return read_interactions(path, item_ids, *columns, on_unknown=on_unknown, option=option)
    return read_sequences(path, item_ids, on_unknown=on_unknown, option=option, table_columns=frozenset(columns[:2]))


def _read_json(path: Path, item_ids: np.ndarray, on_unknown: str, option: str) -> Histories:
    with reading(path, ".json", EOFError, zlib.error), open_plain(path) as file:
        content = json.loads(file.read().decode("utf-8-sig"))
    if not isinstance(content, dict) or not all(isinstance(items, list) for items in content.values()):
        raise UserError(f'{path}: expected one object, {{"user": [items in time order], ...}}')
    return _of_numbered(path, list(content), list(content.values()), item_ids, on_unknown, option)


def _read_lists(
    path: Path,
    item_ids: np.ndarray,
    user_column: str,
    list_column: str,
    there: Sequence[str],
    on_unknown: str,
    option: str,
) -> Histories:
    following = ["item_id"] if list_column == "item_id_list" and "item_id" in there else []
    table = read_columns(path, [user_column, list_column, *following])
    if not table.num_rows:
        raise UserError(f"{path}: has no rows; give one row per user")
    users = plain_ids(table[user_column], _column(str(path), user_column)).to_pylist()
    last = [[item] for item in table["item_id"].to_pylist()] if following else [[]] * len(users)
    lists = []
    for items, more in zip(table[list_column].to_pylist(), last, strict=True):
        if not isinstance(items, (list, type(None))):
            raise UserError(f"{_column(str(path), list_column)}: expected lists of items, found {shown(items)}")
        lists.append([*(items or ()), *more])
    return _of_numbered(path, *_longest(users, lists), item_ids, on_unknown, option)


def _read_examples(paths: Sequence[Path], item_ids: np.ndarray, on_unknown: str, option: str) -> Histories:
    users, lists = [], []
    for path in paths:
        for number, example in enumerate(read_tfrecords(path)):
            if len(example.get("user_id", ())) != 1 or "sequence_data" not in example:
                raise UserError(
                    f"{path}: record {number} (counted from 0) has no user_id and sequence_data of integers, but "
                    f"{', '.join(example) or 'no integers'}; give GRID's files of histories"
                )
            users.append(example["user_id"][0])
            lists.append(example["sequence_data"])
    return _of_numbered(paths[0], *_longest(users, lists), item_ids, on_unknown, option)


def _longest(users: Iterable[Any], lists: Iterable[list[Any]]) -> tuple[list[Any], list[list[Any]]]:
    """Returns the users, and the longest of each user's lists; users without items are dropped."""
    longest: dict[Any, list[Any]] = {}
    for user, items in zip(users, lists, strict=True):
        if len(items) > len(longest.get(user, ())):
            longest[user] = items
    return list(longest), list(longest.values())


def _of_numbered(
    path: Path,
    users: list[int | str],
    lists: Sequence[list[int | str]],
    item_ids: np.ndarray,
    on_unknown: str,
    option: str,
) -> Histories:
    """Returns the histories of lists of items; item numbers become ids if the file's folder has a list of ids."""
    beside = ids_beside(path)
    if beside is not None:
        numbers = numbers_if_whole([str(item) for items in lists for item in items])
        ends = np.cumsum([len(items) for items in lists])[:-1]
        lists = [each.tolist() for each in np.split(ids_of_numbers(path, numbers), ends)]
    return histories_of_lists(as_ids(users, f"{path}: the users"), lists, item_ids, on_unknown, str(path), option)


def histories_of_lists(
    users: np.ndarray, lists: Sequence[Any], item_ids: np.ndarray, on_unknown: str, where: str, option: str = ""
) -> Histories:
    """Returns the histories of `[U]` users, each given as a sequence of item ids in time order.

    Args:
      users: int64 or object (str).
      lists: U sequences of ids, all integers or all text.
      item_ids: `[N]` ids of the catalog; items are matched by their text.
      where: name of the lists in error messages.
      on_unknown, option: see `known_items`.

    Raises:
      UserError: if a user's items are not a list of ids, or an item is not in the catalog.
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
      item_ids: `[N]` ids of the catalog, int64 or object (str); items of the table are matched by their text.
      user_column, item_column: columns of strings or integers.
      time_column: column of numbers, dates or timestamps; None if the rows are in time order.
      where: name of the table in error messages.
      on_unknown, option: see `known_items`.

    Returns:
      The histories: users in the order of their ids, interactions sorted by time and, for equal times, by item id, so
      that the order of the rows has no effect. Without a time column they stay in the order of the rows.

    Raises:
      UserError: if the table is empty, a column has the wrong type, a value is null, or an item is not in the catalog.
    """
    if not table.num_rows:
        raise UserError(f"{where}: has no rows; give one row per interaction")
    times = np.arange(len(table)) if time_column is None else _times(table[time_column], _column(where, time_column))
    user_of_row, user_ids = encoded_ids(table[user_column], _column(where, user_column))
    item_of_row, items_there = encoded_ids(table[item_column], _column(where, item_column))
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
      histories: -1 marks an item that is not in the catalog.
      on_unknown, describe, names, option: see `known_items`.

    Raises:
      UserError: see `known_items`.
    """
    return _keeping(histories, known_items(histories.items, histories.item_ids, on_unknown, describe, names, option))


def _keeping(histories: Histories, known: np.ndarray) -> Histories:
    if known.all():
        return histories
    return dataclasses.replace(histories.keep_interactions(known), num_unknown=int((~known).sum()))


def in_catalog(
    histories: Histories, item_ids: np.ndarray, what: str, on_unknown: str = "error", option: str = ""
) -> Histories:
    """Converts histories over any catalog to histories over another one.

    Args:
      histories: the histories; their items are matched by the text of their ids.
      item_ids: `[N]` ids of the catalog, in any order.
      what: name of an item in error messages, such as "histories: item".
      on_unknown, option: see `known_items`.

    Raises:
      UserError: if an item of a history is not in the catalog and `on_unknown` is "error".
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
    """Returns the number of timestamps equal to a neighboring one, within sorted runs that begin at `offsets`."""
    same = np.concatenate([[False], times[1:] == times[:-1], [False]])
    same[offsets] = False
    return int((same[1:] | same[:-1]).sum())


def _text_ids(names: Iterable[str]) -> np.ndarray:
    return np.array(list(names), dtype=object)  # Objects, so that NumPy does not truncate strings to a fixed width.


def _refuse_second_lines(users: list[str], path: Path) -> None:
    first_line: dict[str, int] = {}
    for number, user in enumerate(users, 1):
        if first_line.setdefault(user, number) != number:
            raise UserError(
                f"{path}: lines {first_line[user]} and {number} both have user {user!r}; write one line per user"
            )


def _column(where: str, column: str) -> str:
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
            "such as 2026-01-31T12:00:00, all with or all without a zone"
        )
    times = column.to_numpy()
    unordered = np.flatnonzero(~np.isfinite(times)) if pa.types.is_floating(kind) else np.empty(0, np.int64)
    if len(unordered):
        value = {"nan": "NaN"}.get(str(times[unordered[0]]), times[unordered[0]])
        raise UserError(
            f"{where}: {_row_from_0(unordered[0])} is {value} ({len(unordered)} in total); remove these rows"
        )
    return times


def _parsed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Converts texts or decimals to numbers or timestamps; a column that fits none of these types is unchanged."""
    for kind in _PARSED_AS:
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return column.cast(kind)
    return column
