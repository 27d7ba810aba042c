"""What the files of all MovieLens sizes have in common: where they lie, lines, titles, numbers."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from sid_jax.data.catalogs.movielens.tables import Table, text_column
from sid_jax.data.reason import reason
from sid_jax.errors import UserError

EXPECTED = "give the folder or zip as GroupLens publishes it"
# What a damaged zip makes its reader raise.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)
# "(V)" marks a film that went straight to video.
_TITLE = re.compile(r"(?P<title>.*?)\s*\((?P<year>\d{4})\)(?:\s*\(V\))?")


def locate(path: Path, names: list[str], *, optional: list[str], folder: str) -> dict[str, Path | zipfile.Path]:
    """Returns where files are in a folder or zip that has them at its top or in `folder`.

    Raises:
      UserError: if the path cannot be read, or one of `names` is missing.
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
        raise UserError(f"{path}: {missing[0]} is neither at the top nor in {folder}; {EXPECTED}")
    return found


def read_files(path: Path, names: list[str], *, optional: list[str], folder: str) -> dict[str, bytes]:
    """Returns what is in the files; else as `locate`."""
    found = locate(path, names, optional=optional, folder=folder)
    try:
        return {name: place.read_bytes() for name, place in found.items()}
    except DAMAGED as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> UserError:
    """Returns the one line for a file that cannot be read."""
    return UserError(f"{path}: cannot be read ({reason(error)}); {EXPECTED}")


def rows_of(text: str, separator: str, width: int, where: str) -> list[list[str]]:
    """Returns the fields of each line, after seeing that there are so many.

    Raises:
      UserError: with the line, if there are not.
    """
    # Not splitlines(): in latin-1 text it also breaks at bytes that are letters.
    rows = [line.rstrip("\r").split(separator) for line in text.rstrip("\r\n").split("\n")]
    for line, row in enumerate(rows, 1):
        if len(row) != width:
            expected = f"expected {width} fields separated by {separator!r}, found {len(row)}"
            raise UserError(f"{where}, line {line}: {expected}; {EXPECTED}")
    return rows


def item_table(
    ids: list[str], full_titles: list[str], genres: list[list[str]], where: str, *, first_line: int = 1
) -> Table:
    """Returns the films: ids, titles with years in brackets, names of genres, each `[N]`.

    Raises:
      UserError: with the line, if an id is not a whole number.
    """
    titles, years = zip(*map(split_title, full_titles), strict=True)
    return {
        "item_id": integers(ids, f"{where}, item id", first_line),
        "title": text_column(titles),
        "year": text_column(years),
        "genres": text_column(["|".join(names) for names in genres]),
    }


def split_title(full_title: str) -> tuple[str, str]:
    """Returns ("Toy Story", "1995") of "Toy Story (1995)"; without a year, all of it and ""."""
    match = _TITLE.fullmatch(full_title.strip())
    return (match["title"], match["year"]) if match else (full_title.strip(), "")


def integers(values: list[str], where: str, first_line: int) -> np.ndarray:
    """Returns the values as int64.

    Raises:
      UserError: with the line, if one is not a whole number.
    """
    for line, value in enumerate(values, first_line):
        if not value.isdecimal() or len(value) > 18:
            raise UserError(f"{where}, line {line}: expected a whole number, found {value!r}; {EXPECTED}")
    return np.array(values, dtype=np.int64)
