"""A small MovieLens in which a movie's kind determines who likes it, with Semantic IDs that contain the kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ranking_study.config import default_config

from sid_jax.data.catalogs.movielens.tables import build_movielens, text_column
from sid_jax.presets import set_mlp

NUM_ITEMS, NUM_USERS, NUM_KINDS = 60, 40, 4


def made_tables():
    """Returns the kinds of the movies, and the users, items, stars and times of ratings.

    Each user likes two of the four kinds of movies. On average, one rating in ten contradicts this.
    """
    random = np.random.default_rng(0)
    kind = np.arange(NUM_ITEMS) % NUM_KINDS
    taste = random.permuted(np.tile([True, True, False, False], (NUM_USERS, 1)), axis=1)
    users, items = (each.ravel() for each in np.meshgrid(np.arange(NUM_USERS), np.arange(NUM_ITEMS), indexing="ij"))
    liked = taste[users, kind[items]] ^ (random.random(len(users)) < 0.1)
    times = random.permutation(len(users))
    return kind, users + 1, items + 1, np.where(liked, 5, 2), times


def made_catalog():
    kind, users, items, stars, times = made_tables()
    return build_movielens(
        {
            "item_id": np.arange(1, NUM_ITEMS + 1),
            "title": text_column([f"Film {number}" for number in range(NUM_ITEMS)]),
            "year": text_column(["1990"] * NUM_ITEMS),
            "genres": text_column([f"Kind{each}" for each in kind]),
        },
        {"user_id": np.arange(1, NUM_USERS + 1), "age": np.arange(NUM_USERS) + 15},
        {"user_id": users, "item_id": items, "rating": stars, "timestamp": times},
        "made",
    )


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with `ratings/` in the layout of latest-small, and IDs in `ids.csv`."""
    kind, users, items, stars, times = made_tables()
    folder = tmp_path / "ratings"
    folder.mkdir()
    films = [f"{number + 1},Film {number} (1990),Kind{each}" for number, each in enumerate(kind)]
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *films]) + "\n")
    rows = [",".join(map(str, row)) for row in zip(users, items, stars.astype(float), times, strict=True)]
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *rows]) + "\n")
    ids = [f"{number + 1},{each} {number % 5} {number % 7}" for number, each in enumerate(kind)]
    (tmp_path / "ids.csv").write_text("\n".join(["item_id,semantic_id", *ids]) + "\n")
    return tmp_path


@pytest.fixture
def settings(world: Path) -> dict[str, object]:
    """The settings of small runs, as flags without `--config.`."""
    return {
        "ids": str(world / "ids.csv"),
        "data.source": "movielens-latest-small",
        "data.path": str(world / "ratings"),
        "runs": 1,
        "sides.kinds": ("sentencepiece", "random"),
        "sides.rows": (20,),
        "sides.whole": (),
        "model.features": 8,
        "model.hidden": (16,),
        "train.num_epochs": 10.0,
        "train.batch_size": 256,
        "train.learning_rate": 3e-2,
        "eval.bootstrap_samples": 100,
    }


@pytest.fixture
def config(settings):
    changed = default_config()
    set_mlp(changed.quantizer)
    for name, value in settings.items():
        section, _, field = name.rpartition(".")
        (changed[section] if section else changed)[field] = value
    return changed
