"""The MovieLens catalog in memory, and helpers that the readers of all its sizes share."""

from __future__ import annotations

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sid_jax.data.histories import Histories, offsets_of
from sid_jax.errors import UserError, reason

# Columns by name, all of the same length.
Table = dict[str, np.ndarray]

_GENDERS = {"M": "male", "F": "female"}
EXPECTED = "give the folder or zip as GroupLens publishes it"
# Errors that reading a damaged zip may raise.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)
# "(V)" marks a movie that was released directly on video.
_TITLE = re.compile(r"(?P<title>.*?)\s*\((?P<year>\d{4})\)(?:\s*\(V\))?")


@dataclasses.dataclass(frozen=True, eq=False)
class MovieLens:
    """The movies, users and ratings of one MovieLens size. All sources, such as a zip and the cache, give equal tables.

    Attributes:
      items: `item_id` int64 `[N]`, ascending; `title`, `year` ("" where unknown) and `genres`
        ("Animation|Children's|Comedy"), each object (str) `[N]`.
      users: `user_id` int64 `[U]`, ascending; `age` int64 `[U]`; `gender` ("M", "F"), `occupation` and `zip_code`, each
        object (str) `[U]`. For 1M, `age` is object (str): an age group such as "18-24". For sizes other than 100K and
        1M, users have only ids.
      ratings: `user_id`, `item_id`, `rating` and `timestamp`, each int64 `[R]`. For sizes other than 100K and 1M,
        `rating` is float64, since there are half stars. The rows are sorted by user, then time, then position in the
        file. A user's "last" rating is the last of the user's rows, even if times are equal.
      source: one line that says where the data came from.
    """

    items: Table
    users: Table
    ratings: Table
    source: str

    def histories(self) -> Histories:
        """Returns the interaction histories: every rating counts as an interaction, whether high or low."""
        user_ids, counts = np.unique(self.ratings["user_id"], return_counts=True)
        movies, movie_of_rating = np.unique(self.ratings["item_id"], return_inverse=True)
        return Histories(user_ids, offsets_of(counts), movie_of_rating.astype(np.int32), movies)


def build_movielens(items: Table, users: Table, ratings: Table, source: str) -> MovieLens:
    """Returns the catalog in its canonical order, from tables in any order.

    Raises:
      UserError: if an id occurs twice, or a rating refers to an unknown movie or user.
    """
    for table, column in ((items, "item_id"), (users, "user_id")):
        _refuse_duplicates(table[column], f"{source}: {column}")
        _refuse_strangers(ratings[column], table[column], f"{source}: ratings refer to {column}")
    by_user_and_time = np.lexsort((ratings["timestamp"], ratings["user_id"]))
    return MovieLens(
        items=_take(items, np.argsort(items["item_id"])),
        users=_take(users, np.argsort(users["user_id"])),
        ratings=_take(ratings, by_user_and_time),
        source=source,
    )


def text_column(values: Sequence[str]) -> np.ndarray:
    """Returns strings as an array `[N]` of the dtype object, which does not truncate them to a fixed width."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def item_texts(items: Table) -> list[str]:
    """Returns a text for each of the N movies, such as "Toy Story (1995). Animation, Children's, Comedy"."""
    return [
        ". ".join(part for part in (f"{title} ({year})" if year else title, genres.replace("|", ", ")) if part)
        for title, year, genres in zip(items["title"], items["year"], items["genres"], strict=True)
    ]


def user_texts(users: Table) -> list[str]:
    """Returns a text for each of the U users, such as "24 years old, male, occupation: technician".

    Raises:
      UserError: if the catalog has no data on users.
    """
    if "age" not in users:
        raise UserError(
            "config.data.view=user: this MovieLens edition has no user attributes; set "
            "config.data.vectors=collaborative, or use movielens-100k or movielens-1m"
        )
    return [
        f"{age} years old, {_GENDERS.get(gender, gender)}, occupation: {occupation}"
        for age, gender, occupation in zip(users["age"], users["gender"], users["occupation"], strict=True)
    ]


def _take(table: Table, rows: np.ndarray) -> Table:
    return {name: column[rows] for name, column in table.items()}


def _refuse_duplicates(ids: np.ndarray, where: str) -> None:
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise UserError(f"{where} {values[counts > 1][0]} occurs more than once; give the data as it was published")


def _refuse_strangers(ids: np.ndarray, known: np.ndarray, where: str) -> None:
    strange = ~np.isin(ids, known)
    if strange.any():
        raise UserError(f"{where} {ids[strange][0]}, but this id does not exist; give the data as it was published")


def locate(path: Path, names: list[str], *, optional: list[str], folder: str) -> dict[str, Path | zipfile.Path]:
    """Returns the paths of files at the top level of a folder or zip, or in its subfolder `folder`.

    Raises UserError if a file of `names` is missing. Files of `optional` may be missing.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; {EXPECTED}")
    try:
        root = path if path.is_dir() else zipfile.Path(path)
        found = {
            name: place
            for name in [*names, *optional]
            for place in (root / folder / name, root / name)
            if place.is_file()
        }
    except DAMAGED as error:
        raise unreadable(path, error) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(f"{path}: {missing[0]} is neither at the top level nor in {folder}; {EXPECTED}")
    return found


def read_files(path: Path, names: list[str], *, optional: list[str], folder: str) -> dict[str, bytes]:
    """Returns the content of files; see `locate` for the arguments and errors."""
    found = locate(path, names, optional=optional, folder=folder)
    try:
        return {name: place.read_bytes() for name, place in found.items()}
    except DAMAGED as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> UserError:
    """Returns the UserError for a file that cannot be read."""
    return UserError(f"{path}: cannot be read ({reason(error)}); {EXPECTED}")


def rows_of(text: str, separator: str, width: int, where: str) -> list[list[str]]:
    """Returns the fields of each line.

    Raises UserError, with the line's number, if a line does not have `width` fields.
    """
    # splitlines() is not used, since it also splits Latin-1 text at characters other than line feeds.
    rows = [line.rstrip("\r").split(separator) for line in text.rstrip("\r\n").split("\n")]
    for line, row in enumerate(rows, 1):
        if len(row) != width:
            expected = f"expected {width} fields separated by {separator!r}, found {len(row)}"
            raise UserError(f"{where}, line {line}: {expected}; {EXPECTED}")
    return rows


def item_table(
    ids: list[str], full_titles: list[str], genres: list[list[str]], where: str, *, first_line: int = 1
) -> Table:
    """Returns the table of N movies from their ids, titles with years in parentheses, and genres.

    Raises UserError if an id is not a whole number.
    """
    titles, years = zip(*map(split_title, full_titles), strict=True)
    return {
        "item_id": integers(ids, f"{where}, item id", first_line),
        "title": text_column(titles),
        "year": text_column(years),
        "genres": text_column(["|".join(names) for names in genres]),
    }


def split_title(full_title: str) -> tuple[str, str]:
    """Returns ("Toy Story", "1995") for "Toy Story (1995)"; without a year, the whole title and ""."""
    match = _TITLE.fullmatch(full_title.strip())
    return (match["title"], match["year"]) if match else (full_title.strip(), "")


def integers(values: list[str], where: str, first_line: int) -> np.ndarray:
    """Returns the values as int64; raises UserError with the line's number if one is not a whole number."""
    for line, value in enumerate(values, first_line):
        if not value.isdecimal() or len(value) > 18:
            raise UserError(f"{where}, line {line}: expected a whole number, found {value!r}; {EXPECTED}")
    return np.array(values, dtype=np.int64)
