"""MovieLens-100K as the study sees it: films, what is known of their users, and what these are asked."""

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
from sid_jax.data.history_files import in_catalog
from sid_jax.data.load import load_vectors
from sid_jax.data.scaling import normalize
from sid_jax.recommend.data.split import EvaluationExamples

# The last items of each user, which nothing is learned from, and each of which is asked for. One question a user would
# tell hardly any two tables apart.
QUESTIONS = 10


@dataclasses.dataclass(frozen=True, eq=False)
class World:
    """N films and U users.

    Attributes:
      path: of MovieLens, "" for wherever the library finds it.
      folder: with `known.txt`, what is known of users as a tokenizer reads it.
      item_ids: `[N]`.
      vectors: `[N, D]` float32 of length 1, of titles, years and genres.
      years: `[N]` object (str).
      genres: N lists.
      known: of each user the items before the last `QUESTIONS`: all that tables, figures and models may see.
      questions: U users `QUESTIONS` times: what came before one of these items, and the item.
      pairs: `[N, N]`, how often films are taken together in what is known.
      together: `[N, C]` float32, vectors of that.
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
    """Returns the world from a copy of MovieLens-100K.

    What a user rated before the items that are known is not in it: nobody takes it out of what is recommended.

    Args:
      path: of the copy.
      num_known: items of each user that are known at most, the last ones before those that are asked for.
      folder: for `known.txt`.
    """
    settings = default_config().data
    settings.source, settings.path = "movielens-100k", path
    films = load_vectors(settings)
    histories = in_catalog(load_movielens(path).histories(), films.ids, "film")
    histories = _last_of_each(histories, num_known + QUESTIONS)
    known = histories.without_last(QUESTIONS)
    pairs = pair_counts(known)
    lines = (f"{user} {' '.join(map(str, films.ids[known.of(user)]))}" for user in range(len(known)))
    (folder / "known.txt").write_text("\n".join(lines))
    return World(
        path=path,
        folder=folder,
        item_ids=films.ids,
        vectors=np.asarray(normalize(jnp.asarray(films.vectors), True)),
        years=films.columns["year"],
        genres=[each.split("|") if each else [] for each in films.columns["genres"].tolist()],
        known=known,
        questions=_questions(histories),
        pairs=pairs,
        together=cooccurrence_vectors(pairs, settings.collaborative_dimension),
    )


def _questions(histories: Histories) -> EvaluationExamples:
    """Asks each user for the last items, each with all before it known: question after question, of all users each."""
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
