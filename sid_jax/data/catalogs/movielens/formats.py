"""Reads MovieLens from files in the layout of GroupLens or of RecBole."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from sid_jax.data.catalogs.movielens.tables import (
    DAMAGED,
    EXPECTED,
    MovieLens,
    Table,
    build_movielens,
    integers,
    item_table,
    locate,
    read_files,
    rows_of,
    text_column,
    unreadable,
)
from sid_jax.errors import UserError, reason

# Genres in the order of the flags in u.item, for copies of the data without u.genre.
GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

# The age group of each age code in users.dat of MovieLens-1M.
_AGES = {"1": "under 18", "18": "18-24", "25": "25-34", "35": "35-44", "45": "45-49", "50": "50-55", "56": "56 or more"}
_OCCUPATIONS = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer",
    "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman",
    "unemployed", "writer",
)  # fmt: skip
_RATINGS = ("user_id", "item_id", "rating", "timestamp")
_RECBOLE_FOLDER = "recbole/dataset_example/ml-100k/"


def read_grouplens(path: Path) -> MovieLens:
    """Reads MovieLens-100K from a folder or zip, with the files at its top level or in `ml-100k/`.

    The files are u.item, u.data, u.user and optionally u.genre. Raises UserError if something is missing or damaged.
    """
    files = read_files(path, ["u.item", "u.data", "u.user"], optional=["u.genre"], folder="ml-100k/")
    genres = _genre_names(files["u.genre"]) if "u.genre" in files else GENRES
    return build_movielens(
        _grouplens_items(_text(files["u.item"]), genres, f"{path}: u.item"),
        _users(rows_of(_text(files["u.user"]), "|", 5, f"{path}: u.user"), f"{path}: u.user"),
        _ratings(rows_of(_text(files["u.data"]), "\t", 4, f"{path}: u.data"), f"{path}: u.data"),
        source=str(path),
    )


def read_recbole(path: Path) -> MovieLens:
    """Reads MovieLens-100K from RecBole's wheel, or from a folder or zip with the `ml-100k.*` files at its top level.

    RecBole separates the year from the title. Title and year are joined again and split by the same rule as GroupLens'
    titles, so both layouts give the same catalog. Raises UserError if something is missing or damaged.
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
    return tuple(line.split("|")[0] for line in _text(content).split("\n") if line.strip())


def _grouplens_items(text: str, genres: Sequence[str], where: str) -> Table:
    rows = rows_of(text, "|", 5 + len(genres), where)
    flagged = [[genre for genre, flag in zip(genres, row[5:], strict=True) if flag == "1"] for row in rows]
    return item_table([row[0] for row in rows], [row[1] for row in rows], flagged, where)


def _recbole_items(rows: list[list[str]], where: str) -> Table:
    # GroupLens' files have the title "unknown", which RecBole misspells as "unkonwn". This title has no year.
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
    return {
        name: integers(list(column), f"{where}, {name}", first_line)
        for name, column in zip(_RATINGS, zip(*rows, strict=True), strict=True)
    }


def read_1m(path: Path) -> MovieLens:
    """Reads MovieLens-1M from a folder or zip, with the files at its top level or in `ml-1m/`.

    The files are movies.dat, users.dat and ratings.dat, in Latin-1 or UTF-8. Ages are age groups, as text ("18-24").
    Raises UserError if something is missing or damaged.
    """
    folder, whole_stars = "ml-1m/", pa.int64()
    files = read_files(path, ["movies.dat", "users.dat"], optional=[], folder=folder)
    return build_movielens(
        _movies_between_colons(_text(files["movies.dat"]), f"{path}: movies.dat"),
        _users_1m(rows_of(_text(files["users.dat"]), "::", 5, f"{path}: users.dat"), f"{path}: users.dat"),
        _ratings_between_colons(path, folder, whole_stars),
        source=str(path),
    )


def read_10m(path: Path) -> MovieLens:
    """Reads MovieLens-10M from a folder or zip, with the files at its top level or in `ml-10M100K/`.

    The files are movies.dat and ratings.dat, in UTF-8. There is no file of users; their ids come from the ratings.
    Raises UserError if something is missing or damaged.
    """
    folder, half_stars = "ml-10M100K/", pa.float64()
    text = _utf8(read_files(path, ["movies.dat"], optional=[], folder=folder)["movies.dat"], f"{path}: movies.dat")
    ratings = _ratings_between_colons(path, folder, half_stars)
    movies = _movies_between_colons(text, f"{path}: movies.dat")
    return build_movielens(movies, _users_of(ratings), ratings, source=str(path))


def read_csv(path: Path, folder: str) -> MovieLens:
    """Reads MovieLens-20M, 25M, 32M or latest-small from a folder or zip.

    The files are movies.csv and ratings.csv, in UTF-8, at the top level or in `folder`. There is no file of users;
    their ids come from the ratings. Raises UserError if something is missing or damaged.
    """
    where = f"{path}: movies.csv"
    text = _utf8(read_files(path, ["movies.csv"], optional=[], folder=folder)["movies.csv"], where)
    movies = _movies_of_csv(text, where)
    names = ("userId", "movieId", "rating", "timestamp")
    kinds = dict(zip(names, (pa.int64(), pa.int64(), pa.float64(), pa.int64()), strict=True))
    options = pa_csv.ConvertOptions(column_types=kinds, include_columns=list(names))
    columns = _arrow_columns(path, "ratings.csv", folder, convert_options=options)
    ratings = dict(zip(_RATINGS, columns, strict=True))
    return build_movielens(movies, _users_of(ratings), ratings, source=str(path))


def _movies_between_colons(text: str, where: str) -> Table:
    rows = []
    for line, words in enumerate(text.rstrip("\r\n").split("\n"), 1):
        # A title may contain colons.
        number, _, rest = words.rstrip("\r").partition("::")
        title, colons, genres = rest.rpartition("::")
        if not colons:
            raise UserError(
                f"{where}, line {line}: expected a number, a title and genres, separated by '::'; {EXPECTED}"
            )
        rows.append((number, title, _genres(genres)))
    ids, titles, genres_of = (list(column) for column in zip(*rows, strict=True))
    return item_table(ids, titles, genres_of, where)


def _movies_of_csv(text: str, where: str) -> Table:
    try:
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (csv.Error, ValueError) as error:
        raise UserError(f"{where}: cannot be read as CSV ({reason(error)}); {EXPECTED}") from error
    if header != ["movieId", "title", "genres"] or not rows:
        raise UserError(f"{where}: expected movieId,title,genres in line 1 and movies after it; {EXPECTED}")
    for line, row in enumerate(rows, 2):
        if len(row) != 3:
            raise UserError(f"{where}, line {line}: expected 3 fields, found {len(row)}; {EXPECTED}")
    ids, titles, genres = (list(column) for column in zip(*rows, strict=True))
    return item_table(ids, titles, list(map(_genres, genres)), where, first_line=2)


def _genres(joined: str) -> list[str]:
    return [] if joined == "(no genres listed)" else joined.split("|")


def _users_1m(rows: list[list[str]], where: str) -> Table:
    ids, genders, ages, occupations, zip_codes = (list(column) for column in zip(*rows, strict=True))
    codes = integers(occupations, f"{where}, occupation", 1)
    for line, (age, code) in enumerate(zip(ages, codes.tolist(), strict=True), 1):
        if age not in _AGES or code >= len(_OCCUPATIONS):
            raise UserError(f"{where}, line {line}: unknown age group {age!r} or occupation {code}; {EXPECTED}")
    return {
        "user_id": integers(ids, f"{where}, user id", 1),
        "age": text_column([_AGES[age] for age in ages]),
        "gender": text_column(genders),
        "occupation": text_column([_OCCUPATIONS[code] for code in codes]),
        "zip_code": text_column(zip_codes),
    }


def _users_of(ratings: Table) -> Table:
    return {"user_id": np.unique(ratings["user_id"])}


def _ratings_between_colons(path: Path, folder: str, stars: pa.DataType) -> Table:
    # With the delimiter ":", Arrow sees an empty column between the two colons of "::".
    names = ["user_id", "", "item_id", "", "rating", "", "timestamp"]
    kinds = {"user_id": pa.int64(), "item_id": pa.int64(), "rating": stars, "timestamp": pa.int64()}
    columns = _arrow_columns(
        path,
        "ratings.dat",
        folder,
        read_options=pa_csv.ReadOptions(column_names=names),
        parse_options=pa_csv.ParseOptions(delimiter=":", quote_char=False),
        convert_options=pa_csv.ConvertOptions(column_types=kinds, include_columns=list(_RATINGS)),
    )
    return dict(zip(_RATINGS, columns, strict=True))


def _arrow_columns(path: Path, name: str, folder: str, **options: object) -> Sequence[np.ndarray]:
    """Returns a file's columns of numbers, streamed from a folder or zip."""
    place = locate(path, [name], optional=[], folder=folder)[name]
    try:
        with place.open("rb") as file:
            table = pa_csv.read_csv(file, **options)
    except pa.ArrowException as error:
        raise UserError(f"{path}: {name} is damaged ({reason(error)}); {EXPECTED}") from error
    except DAMAGED as error:
        raise unreadable(path, error) from error
    for column in table.column_names:
        if table[column].null_count:
            raise UserError(f"{path}: {name}: {column} is missing in {table[column].null_count} rows; {EXPECTED}")
    return [column.to_numpy() for column in table.columns]


def _text(content: bytes) -> str:
    """Decodes text as UTF-8 if it is valid UTF-8, and otherwise as Latin-1.

    GroupLens publishes Latin-1; converted copies have UTF-8. Latin-1 text with a letter beyond ASCII is not valid
    UTF-8, since the continuation bytes of UTF-8 are missing.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _utf8(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text ({reason(error)}); {EXPECTED}") from error
