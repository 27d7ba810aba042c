"""The MovieLens catalog in memory: films, users and ratings, and each of them in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sid_jax.errors import UserError

# Columns by name, all of one length.
Table = dict[str, np.ndarray]

_GENDERS = {"M": "male", "F": "female"}


@dataclasses.dataclass(frozen=True, eq=False)
class MovieLens:
    """Films, users and ratings, the same whichever source they came from.

    Attributes:
      items: `item_id` int64 `[N]`, ascending; `title`, `year` ("" where unknown) and `genres`
        ("Animation|Children's|Comedy"), each object (str) `[N]`.
      users: `user_id` int64 `[U]`, ascending; `age` int64 (of 1M object (str), since it is a group: "18-24"); `gender`
        ("M", "F"), `occupation` and `zip_code`, each object (str) `[U]`. Of 10M and larger the ids alone.
      ratings: `user_id`, `item_id`, `rating` and `timestamp`, each int64 `[R]` (stars of 10M and larger float64, since
        there are halves), sorted by user, then time, then place in the file: a user's "last" rating is the last of the
        user's rows, also where times are equal.
      source: one line that says where the data came from.
    """

    items: Table
    users: Table
    ratings: Table
    source: str


def build_movielens(items: Table, users: Table, ratings: Table, source: str) -> MovieLens:
    """Returns the catalog in its one order, from tables in any order.

    Raises:
      UserError: if an id occurs twice, or a rating is of a film or by a user that is not there.
    """
    for table, column in ((items, "item_id"), (users, "user_id")):
        _refuse_duplicates(table[column], f"{source}: {column}")
        _refuse_strangers(ratings[column], table[column], f"{source}: ratings")
    by_user_and_time = np.lexsort((ratings["timestamp"], ratings["user_id"]))
    return MovieLens(
        items=_take(items, np.argsort(items["item_id"])),
        users=_take(users, np.argsort(users["user_id"])),
        ratings=_take(ratings, by_user_and_time),
        source=source,
    )


def text_column(values: Sequence[str]) -> np.ndarray:
    """Returns `[N]` objects (str), which numpy cannot cut to a fixed width."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def item_texts(items: Table) -> list[str]:
    """Returns a text for each of the N films, such as "Toy Story (1995). Animation, Children's, Comedy"."""
    return [
        ". ".join(part for part in (f"{title} ({year})" if year else title, genres.replace("|", ", ")) if part)
        for title, year, genres in zip(items["title"], items["year"], items["genres"], strict=True)
    ]


def user_texts(users: Table) -> list[str]:
    """Returns a text for each of the U users, such as "24 years old, male, occupation: technician".

    Raises:
      UserError: if nothing is known of them.
    """
    if "age" not in users:
        raise UserError(
            "config.data.view=user: this MovieLens says nothing of its users; set config.data.vectors=collaborative, "
            "or take movielens-100k or movielens-1m"
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
        raise UserError(
            f"{where} name {ids[strange][0]}, which is in no row of the table it refers to; "
            "give the data as it was published"
        )
