"""The two layouts that MovieLens-100K is found in, read into the one catalog."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sid_jax.data.catalogs.movielens.fields import integers, item_table, read_files, rows_of
from sid_jax.data.catalogs.movielens.tables import MovieLens, Table, build_movielens, text_column

# The order of the flags in u.item, for copies that have no u.genre.
GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)

_RECBOLE_FOLDER = "recbole/dataset_example/ml-100k/"


def read_grouplens(path: Path) -> MovieLens:
    """Reads GroupLens' layout: u.item, u.data, u.user and, if present, u.genre.

    Args:
      path: a folder or zip that has the files at its top or in `ml-100k/`.

    Raises:
      UserError: if the path, a file, a field or a value is missing or damaged.
    """
    files = read_files(path, ["u.item", "u.data", "u.user"], optional=["u.genre"], folder="ml-100k/")
    genres = _genre_names(files["u.genre"]) if "u.genre" in files else GENRES
    return build_movielens(
        _grouplens_items(files["u.item"].decode("latin-1"), genres, f"{path}: u.item"),
        _users(rows_of(files["u.user"].decode("latin-1"), "|", 5, f"{path}: u.user"), f"{path}: u.user"),
        _ratings(rows_of(files["u.data"].decode("latin-1"), "\t", 4, f"{path}: u.data"), f"{path}: u.data"),
        source=str(path),
    )


def read_recbole(path: Path) -> MovieLens:
    """Reads RecBole's layout out of its wheel: UTF-8, tab-separated, with one line of typed column names.

    RecBole splits the year off the title. Joined again, it is split by the same rule as GroupLens' own titles, so that
    both layouts give the same catalog.

    Args:
      path: the wheel, or a folder or zip that has the three `ml-100k.*` files at its top.

    Raises:
      UserError: if the path, a file, a field or a value is missing or damaged.
    """
    names = ["ml-100k.item", "ml-100k.user", "ml-100k.inter"]
    files = read_files(path, names, optional=[], folder=_RECBOLE_FOLDER)
    item, user, inter = (
        rows_of(files[name].decode(), "\t", width, f"{path}: {name}")[1:]
        for name, width in zip(names, (4, 5, 4), strict=True)
    )
    return build_movielens(
        _recbole_items(item, f"{path}: ml-100k.item"),
        _users(user, f"{path}: ml-100k.user", first_line=2),
        _ratings(inter, f"{path}: ml-100k.inter", first_line=2),
        source=str(path),
    )


def _genre_names(content: bytes) -> tuple[str, ...]:
    return tuple(line.split("|")[0] for line in content.decode("latin-1").split("\n") if line.strip())


def _grouplens_items(text: str, genres: Sequence[str], where: str) -> Table:
    rows = rows_of(text, "|", 5 + len(genres), where)
    flagged = [[genre for genre, flag in zip(genres, row[5:], strict=True) if flag == "1"] for row in rows]
    return item_table([row[0] for row in rows], [row[1] for row in rows], flagged, where)


def _recbole_items(rows: list[list[str]], where: str) -> Table:
    # "unkonwn" is this copy's spelling of GroupLens' "unknown", which has no year.
    titles = ["unknown" if title == "unkonwn" else f"{title} ({year})" for _, title, year, _ in rows]
    return item_table([row[0] for row in rows], titles, [row[3].split(" ") for row in rows], where, first_line=2)


def _users(rows: list[list[str]], where: str, *, first_line: int = 1) -> Table:
    ids, ages, genders, occupations, zip_codes = (list(column) for column in zip(*rows, strict=True))
    return {
        "user_id": integers(ids, f"{where}, user id", first_line),
        "age": integers(ages, f"{where}, age", first_line),
        "gender": text_column(genders),
        "occupation": text_column(occupations),
        "zip_code": text_column(zip_codes),
    }


def _ratings(rows: list[list[str]], where: str, *, first_line: int = 1) -> Table:
    names = ("user_id", "item_id", "rating", "timestamp")
    return {
        name: integers(list(column), f"{where}, {name}", first_line)
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
