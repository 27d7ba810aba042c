"""Small MovieLens files in the layouts of GroupLens and RecBole, and the real data, fetched once."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from sid_jax.data.catalogs.movielens.formats import GENRES
from sid_jax.data.catalogs.movielens.sources import load_movielens
from sid_jax.data.catalogs.movielens.tables import MovieLens

# Movies: the title in GroupLens' files, the title and the year in RecBole's files, and the genres.
FILMS = [
    ("Toy Story (1995)", "Toy Story", "1995", ["Animation", "Children's", "Comedy"]),
    ("Misérables, Les (1995)", "Misérables, Les", "1995", ["Drama", "Musical"]),
    ("unknown", "unkonwn", "unkonwn", ["unknown"]),
    (
        "Land Before Time III: The Time of the Great Giving (1995) (V)",
        "Land Before Time III: The Time of the Great Giving (1995)",
        "V",
        ["Animation", "Children's"],
    ),
    ("Two Friends (1986) ", "Two Friends", "1986", ["Drama"]),
    ("Land Before Time (III) (1988)", "Land Before Time (III)", "1988", []),
]
USERS = ["1|24|M|technician|85711", "2|53|F|other|T8H1N", "3|7|M|student|01002"]
# User, item, rating and time. The rows are not in the order of the catalog, and two ratings of user 1 have equal times.
RATINGS = ["2 1 3 500", "1 4 5 300", "1 2 4 100", "3 6 1 50", "1 1 2 300", "2 3 1 400"]


def grouplens_files() -> dict[str, bytes]:
    items = [
        f"{number}|{title}|01-Jan-1995||http://x|" + "|".join("01"[genre in genres] for genre in GENRES)
        for number, (title, _, _, genres) in enumerate(FILMS, 1)
    ]
    return {
        "u.item": ("\n".join(items) + "\n").encode("latin-1"),
        "u.user": ("\n".join(USERS) + "\n").encode("latin-1"),
        "u.data": ("\n".join(rating.replace(" ", "\t") for rating in RATINGS) + "\n").encode(),
        "u.genre": ("\n".join(f"{name}|{number}" for number, name in enumerate(GENRES)) + "\n\n").encode(),
    }


def recbole_files() -> dict[str, bytes]:
    items = [
        f"{number}\t{title}\t{year}\t{' '.join(genres)}" for number, (_, title, year, genres) in enumerate(FILMS, 1)
    ]
    tables = {
        "ml-100k.item": ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq", *items],
        "ml-100k.user": [
            "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
            *(user.replace("|", "\t") for user in USERS),
        ],
        "ml-100k.inter": [
            "user_id:token\titem_id:token\trating:float\ttimestamp:float",
            *(rating.replace(" ", "\t") for rating in RATINGS),
        ],
    }
    return {name: "\n".join(lines).encode() for name, lines in tables.items()}


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_zip(path: Path, files: dict[str, bytes], inside: str = "ml-100k/") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(inside + name, content)
    return path


def assert_same_catalog(left: MovieLens, right: MovieLens) -> None:
    for table in ("items", "users", "ratings"):
        left_table, right_table = getattr(left, table), getattr(right, table)
        assert list(left_table) == list(right_table)
        for name, column in left_table.items():
            assert column.dtype == right_table[name].dtype
            assert column.tolist() == right_table[name].tolist()


@pytest.fixture(scope="session")
def real_movielens(real_cache: Path) -> MovieLens:
    return load_movielens(cache_dir=str(real_cache))
