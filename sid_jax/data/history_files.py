"""Reads interaction histories from files: one line or list per user, or one row per interaction."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from sid_jax.data.arrays import as_ids
from sid_jax.data.arrow_columns import plain_ids
from sid_jax.data.file_content import check_content, open_plain
from sid_jax.data.histories import Histories, offsets_of
from sid_jax.data.id_lists import catalog_rows, numbered_lines, numbers_if_whole
from sid_jax.data.listing import ending
from sid_jax.data.make_histories import column_name, histories_of_lists, histories_of_table, without_unknown
from sid_jax.data.numbered import ids_of_numbers, list_beside
from sid_jax.data.parts.part import reading
from sid_jax.data.tables import TABLE_ENDINGS, column_names, read_columns
from sid_jax.data.tfrecord import read_tfrecords
from sid_jax.errors import UserError, shown
from sid_jax.paths import as_path

# Columns with a list of items in each user's row.
_LISTS = ("sequence_data", "item_id_list")
_JSON = (".json", ".json.gz")
# Separators that other programs write between the ids of a line, or between the columns of a table.
_SEPARATORS = (",", ";", "|")


@dataclasses.dataclass(frozen=True)
class HistoryFile:
    """A file of interaction histories, see `read_histories`, and the names of its columns if it is a table.

    Attributes:
      path: the file.
      user_column, item_column, time_column: columns of a table.
      option: the option that drops unknown items, for error messages.
    """

    path: str | Path
    user_column: str = "user_id"
    item_column: str = "item_id"
    time_column: str = "timestamp"
    option: str = 'on_unknown="drop"'

    def read(self, item_ids: np.ndarray, on_unknown: str = "error") -> Histories:
        """Reads the file, see `read_histories`; `item_ids` are the `[N]` ids of the catalog."""
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
      UserError: if the file is missing or empty, or is a table, JSON or not text; if a line has no item; or if a user
        has two lines. See also `known_items`.
    """
    lines = numbered_lines(path, content="one line per user")
    fields = [line.split() for _, line in lines]
    _refuse_json(path, lines[0][1])
    if any(table_columns <= set(_unquoted(lines[0][1].split(separator))) for separator in (None, *_SEPARATORS)):
        raise UserError(
            f"{path}: the first line names columns, so this is a table with one row per interaction; save it as .csv, "
            ".parquet or .feather"
        )
    for number, ((line, _), words) in enumerate(zip(lines, fields, strict=True), 1):
        if line > number or len(words) < 2:  # An empty line, or a user without items.
            other = next((each for each in _SEPARATORS if line == number and each in words[0]), None)
            cause = "" if other is None else f", since {other!r} separates its ids"
            raise UserError(
                f"{path}: line {number} has no item{cause}; write a user id and then item ids, separated by spaces"
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
    """Reads table files with one row per interaction, in any order; see `histories_of_table`.

    Ids in a .csv file are strings. If a file has no time column, but has a column of item lists in time order, each row
    is a history. Such a column is `sequence_data`, which GRID and NVIDIA recsys-examples write, or RecBole's
    `item_id_list`. The row's `item_id`, if any, is appended to RecBole's list. If a user has several rows, the longest
    list is used.

    Raises:
      UserError: see `histories_of_table`; also if the file cannot be read or lacks a column.
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
    """Reads histories from a file of any kind. The file's ending and columns determine its kind.

    A table file, or a folder of them, is read by `read_interactions`. A .json file, gzipped or not, is
    `{user: [items in time order]}`, such as the `inter.json` of MiniOneRec and LC-Rec. A .tfrecord file, or a folder of
    them, has GRID's `user_id` and `sequence_data`. Any other file is text, read by `read_sequences`.
    """
    path = as_path(text)
    check_content(path)
    if is_json(path):
        return _read_json(path, item_ids, on_unknown, option)
    if examples := tfrecord_files(path):
        return _read_examples(examples, item_ids, on_unknown, option)
    if ending(path, TABLE_ENDINGS) in TABLE_ENDINGS or path.is_dir():
        return read_interactions(path, item_ids, *columns, on_unknown=on_unknown, option=option)
    return read_sequences(path, item_ids, on_unknown=on_unknown, option=option, table_columns=frozenset(columns[:2]))


def is_json(path: Path) -> bool:
    """Returns whether a path is that of a .json file, gzipped or not."""
    return ending(path, _JSON) in _JSON


def tfrecord_files(path: Path) -> list[Path]:
    """Returns the .tfrecord files of a folder; for the path of a file, the file itself if it is a .tfrecord file."""
    return sorted(path.glob("*.tfrecord*")) if path.is_dir() else [path] if ".tfrecord" in path.name else []


def _read_json(path: Path, item_ids: np.ndarray, on_unknown: str, option: str) -> Histories:
    with reading(path, ".json", EOFError, zlib.error), open_plain(path) as file:
        content = json.loads(file.read().decode("utf-8-sig"))
    if not isinstance(content, dict) or not all(isinstance(items, list) for items in content.values()):
        raise UserError(f'{path}: expected one JSON object, {{"user": [items in time order], ...}}')
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
    users = plain_ids(table[user_column], column_name(str(path), user_column)).to_pylist()
    last = [[item] for item in table["item_id"].to_pylist()] if following else [[]] * len(users)
    lists = []
    for items, more in zip(table[list_column].to_pylist(), last, strict=True):
        if not isinstance(items, (list, type(None))):
            raise UserError(f"{column_name(str(path), list_column)}: expected lists of items, found {shown(items)}")
        lists.append([*(items or ()), *more])
    return _of_numbered(path, *_longest(users, lists), item_ids, on_unknown, option)


def _read_examples(paths: Sequence[Path], item_ids: np.ndarray, on_unknown: str, option: str) -> Histories:
    users, lists = [], []
    for path in paths:
        for number, example in enumerate(read_tfrecords(path)):
            if len(example.get("user_id", ())) != 1 or "sequence_data" not in example:
                raise UserError(
                    f"{path}: record {number} (counted from 0) must have one user_id and a sequence_data of integers; "
                    f"it has integers in: {', '.join(example) or 'no feature'}; give GRID's files of histories"
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
    """Makes histories from a file's lists of items; item numbers become ids if the file's folder has a list of ids."""
    if not any(map(len, lists)):
        raise UserError(f"{path}: no user has an item; give a file with histories")
    if list_beside(path) is not None:
        numbers = numbers_if_whole([str(item) for items in lists for item in items])
        ends = np.cumsum([len(items) for items in lists])[:-1]
        lists = [each.tolist() for each in np.split(ids_of_numbers(path, numbers), ends)]
    return histories_of_lists(as_ids(users, f"{path}: the users"), lists, item_ids, on_unknown, str(path), option)


def _text_ids(names: Iterable[str]) -> np.ndarray:
    return np.array(list(names), dtype=object)  # With the dtype object, NumPy does not truncate text.


def _unquoted(names: Iterable[str]) -> list[str]:
    return [name.strip().strip('"') for name in names]


def _refuse_json(path: Path, line: str) -> None:
    """Raises a UserError if the first line of a text file begins a JSON object or list."""
    if line.startswith(('{"', "{'", "[{", "[[")) or line in ("{", "["):
        raise UserError(
            f"{path}: its content is JSON; if it is an object {{user: [items in time order]}}, give the file the "
            "ending .json; otherwise, save records as a .csv or .parquet table"
        )


def _refuse_second_lines(users: list[str], path: Path) -> None:
    first_line: dict[str, int] = {}
    for number, user in enumerate(users, 1):
        if first_line.setdefault(user, number) != number:
            raise UserError(
                f"{path}: lines {first_line[user]} and {number} both have user {user!r}; write one line per user"
            )
