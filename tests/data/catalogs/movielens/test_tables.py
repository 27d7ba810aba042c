from __future__ import annotations

import numpy as np
import pytest

from sid_jax.data.catalogs.movielens.tables import build_movielens, item_texts, text_column, user_texts
from sid_jax.errors import UserError


def ids(name: str, values: list[int]) -> dict[str, np.ndarray]:
    return {name: np.array(values, dtype=np.int64)}


def ratings(rows: list[tuple[int, int, int, int]]) -> dict[str, np.ndarray]:
    columns = np.array(rows, dtype=np.int64).T
    return dict(zip(("user_id", "item_id", "rating", "timestamp"), columns, strict=True))


def test_order_is_by_id_and_for_ratings_by_user_time_and_place_in_the_file():
    rows = [(2, 5, 1, 10), (1, 9, 2, 30), (1, 5, 3, 20), (1, 7, 4, 30)]
    catalog = build_movielens(ids("item_id", [9, 5, 7]), ids("user_id", [2, 1]), ratings(rows), "here")
    assert catalog.items["item_id"].tolist() == [5, 7, 9]
    assert catalog.users["user_id"].tolist() == [1, 2]
    assert catalog.ratings["rating"].tolist() == [3, 2, 4, 1]


def test_an_id_that_occurs_twice_is_refused():
    with pytest.raises(UserError, match="here: item_id 5 occurs more than once"):
        build_movielens(ids("item_id", [5, 7, 5]), ids("user_id", [1]), ratings([(1, 5, 3, 20)]), "here")


def test_a_rating_of_no_film_is_refused():
    with pytest.raises(UserError, match="here: ratings refer to item_id 8, but this id does not exist"):
        build_movielens(ids("item_id", [5]), ids("user_id", [1]), ratings([(1, 8, 3, 20)]), "here")


def test_a_film_in_words_has_nothing_dangling():
    items = {
        "title": text_column(["Toy Story", "unknown", "No Genre"]),
        "year": text_column(["1995", "", "1990"]),
        "genres": text_column(["Animation|Children's|Comedy", "unknown", ""]),
    }
    assert item_texts(items) == [
        "Toy Story (1995). Animation, Children's, Comedy",
        "unknown. unknown",
        "No Genre (1990)",
    ]


def test_a_user_in_words():
    users = {
        "age": np.array([24, 53]),
        "gender": text_column(["M", "F"]),
        "occupation": text_column(["technician", "other"]),
    }
    assert user_texts(users) == [
        "24 years old, male, occupation: technician",
        "53 years old, female, occupation: other",
    ]
