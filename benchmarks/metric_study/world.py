"""The study's data from MovieLens-100K: movies, training histories of users, and test examples."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from scipy import sparse

from sid_jax.config import default_config
from sid_jax.data.catalogs.movielens.sources import load_movielens
from sid_jax.data.collaborative import cooccurrence_vectors, pair_counts
from sid_jax.data.histories import Histories, offsets_of
from sid_jax.data.load import load_vectors
from sid_jax.data.make_histories import in_catalog
from sid_jax.data.scaling import normalize
from sid_jax.recommend.data.split import EvaluationExamples

# Number of test targets per user. The targets are the last items of the history, and are excluded from training. With
# one target per user, the study could hardly distinguish any two ID tables.
QUESTIONS = 10


@dataclasses.dataclass(frozen=True, eq=False)
class World:
    """The study's data of N movies and U users.

    Attributes:
      path: path of MovieLens; "" for the copy in the cache, which is downloaded if it is missing.
      folder: folder of `known.txt`, the training histories in a format that sid_jax reads.
      item_ids: `[N]`.
      vectors: `[N, D]` float32 of length 1, vectors of texts with titles, years and genres.
      years: `[N]` object (str).
      genres: N lists.
      known: the training histories, without each user's last `QUESTIONS` items. ID tables, metrics and recommenders use
        only these histories.
      questions: `QUESTIONS` test examples for each of U users. In each example, one of the user's last items is the
        target, and all items before it are the history.
      pairs: `[N, N]`, co-occurrence counts of movies in the training histories.
      together: `[N, C]` float32, co-occurrence vectors.
    """

    path: str
    folder: Path
    item_ids: np.ndarray
    vectors: np.ndarray
    years: np.ndarray
    genres: list[list[str]]
    known: Histories
    questions: EvaluationExamples
    pairs: sparse.csr_array
    together: np.ndarray


def load_world(path: str, num_known: int, folder: Path) -> World:
    """Loads the study's data from a copy of MovieLens-100K.

    Of each user's history, only the last `num_known` + `QUESTIONS` ratings are used. Earlier
    ratings are dropped, so their movies do not count as seen items of the user, and may be recommended.

    Args:
      path: path of the copy.
      num_known: maximum length of a training history, which has the user's last items before the test targets.
      folder: folder for `known.txt`.
    """
    settings = default_config().data
    settings.source, settings.path = "movielens-100k", path
    movies = load_vectors(settings)
    histories = in_catalog(load_movielens(path).histories(), movies.ids, "movie")
    histories = _last_of_each(histories, num_known + QUESTIONS)
    known = histories.without_last(QUESTIONS)
    pairs = pair_counts(known)
    lines = (f"{user} {' '.join(map(str, movies.ids[known.of(user)]))}" for user in range(len(known)))
    (folder / "known.txt").write_text("\n".join(lines))
    return World(
        path=path,
        folder=folder,
        item_ids=movies.ids,
        vectors=np.asarray(normalize(jnp.asarray(movies.vectors), True)),
        years=movies.columns["year"],
        genres=[each.split("|") if each else [] for each in movies.columns["genres"].tolist()],
        known=known,
        questions=_questions(histories),
        pairs=pairs,
        together=cooccurrence_vectors(pairs, settings.collaborative_dimension),
    )


def _questions(histories: Histories) -> EvaluationExamples:
    """Returns the test examples: the items before a target are its history.

    First come the examples whose targets are the users' last items, then those whose targets are the items before the
    last ones, and so on.
    """
    before = [histories.without_last(back) for back in range(1, QUESTIONS + 1)]
    asked = Histories(
        user_ids=np.concatenate([each.user_ids for each in before]),
        offsets=offsets_of(np.concatenate([each.lengths for each in before])),
        items=np.concatenate([each.items for each in before]),
        item_ids=histories.item_ids,
    )
    targets = [histories.items[histories.offsets[1:] - back] for back in range(1, QUESTIONS + 1)]
    return EvaluationExamples(asked, np.concatenate(targets), left_out=0)


def _last_of_each(histories: Histories, count: int) -> Histories:
    """Returns the histories of each user's last `count` interactions."""
    ends = np.repeat(histories.offsets[1:], histories.lengths)
    return histories.keep_interactions(np.arange(len(histories.items)) >= ends - count)
