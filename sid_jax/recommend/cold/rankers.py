"""Lists with places for cold items: what ranks them, and TIGER's rule of how many a list has."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from sid_jax.ids.trie import Trie
from sid_jax.recommend.baselines import SemanticKNN
from sid_jax.recommend.batch import HistoryBatch, Ranker
from sid_jax.recommend.cold.scores import BackOff, cold_scores, cold_scores_of_items, prefix_scores
from sid_jax.recommend.config import PLACES
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.models.catalog import Catalog, catalog_of
from sid_jax.recommend.models.item_model import ItemModel
from sid_jax.recommend.ranker import ModelRanker, first_allowed
from sid_jax.training.processes import gathered
from sid_jax.training.sharding import on_every_device

# Beside as many as are asked for, so that some can be excluded.
_SPARE = 50


class ColdRanker:
    """Lists of cold items alone.

    Args:
      ranker: the model, over the items that it was trained on.
      cold: the trie of the cold items.
      content: `[N, D]` float32 vectors of length 1 of all items.
      back_off: how they are scored; None: by the log-probability of their exact IDs, which the model never saw, for a
        model that generates IDs.
    """

    def __init__(self, ranker: ModelRanker, cold: Trie, content: np.ndarray, back_off: BackOff | None):
        self.name = ranker.name
        self._ranker, self._back_off = ranker, back_off
        self._cold, self._content = on_every_device((cold, content), ranker.mesh)

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the best cold items for each history, `[B, count]` int32; -1 where there are no more."""
        return self.scored(batch, count, exclude)[0]

    def scored(
        self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns what `recommend` does, and their scores `[B, count]` float32."""
        # A power of two: few programs, whatever is asked for.
        found, scores = _find_cold(
            self._ranker.graphdef,
            self._ranker.params,
            self._ranker.shared_out(batch),
            self._ranker.catalog,
            self._ranker.vectors,
            self._cold,
            self._content,
            self._back_off,
            num_beams=self._ranker.num_beams,
            count=min(1 << (count + _SPARE - 1).bit_length(), len(self._cold.items)),
        )
        size = len(batch.lengths)
        return first_allowed(gathered(found)[:size], gathered(scores)[:size], exclude, count)


@functools.partial(jax.jit, static_argnames=("graphdef", "num_beams", "count"))
def _find_cold(
    graphdef: nnx.GraphDef[Any],
    params: nnx.State,
    histories: HistoryBatch,
    known: Catalog,
    vectors: Any,
    cold: Trie,
    content: jax.Array,
    back_off: BackOff | None,
    *,
    num_beams: int,
    count: int,
) -> tuple[jax.Array, jax.Array]:
    model: Any = nnx.merge(graphdef, params)
    if isinstance(model, ItemModel):
        assert back_off is not None  # there is no exact ID to go by
        scores = cold_scores_of_items(model, histories, known, vectors, cold, content, back_off, num_beams)
    elif back_off is None:
        scores = prefix_scores(model, histories, known, cold, len(cold.sizes))
    else:
        scores = cold_scores(model, histories, known, cold, content, back_off, num_beams)
    best, places = jax.lax.top_k(scores, count)
    return cold.items[places], best


class SlotRanker:
    """Lists of known items in which some places are for cold ones.

    Args:
      name: for tables.
      known: recommends known items.
      cold: recommends cold items.
      slots: of every `places` places, those for cold items.
      places: 1 or more.
    """

    def __init__(self, name: str, known: Ranker, cold: Ranker, slots: int, places: int = PLACES):
        self.name = name
        self._known, self._cold, self._slots, self._places = known, cold, slots, places

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the best items for each history, `[B, count]` int32; -1 where there are no more."""
        known = self._known.recommend(batch, count, exclude)
        cold = self._cold.recommend(batch, -(-count // self._places) * self._slots, exclude)
        return with_cold(known, cold, count, self._slots, self._places)


def slot_rankers(config: ConfigDict, candidates: Candidates, ranker: ModelRanker) -> list[Ranker]:
    """Returns the model's ways to rank cold items, and semantic kNN, all with `config.eval.cold_slots`.

    It ranks them with back-off, and by exact IDs or, if it scores items, by its scores.

    Args:
      config: as from `sid_jax.recommend.config`.
      candidates: some of them cold, with content.
      ranker: the trained model.
    """
    slots, cold, content = config.eval.cold_slots, candidates.cold, candidates.content
    assert content is not None  # asked for by the slots
    known, of_cold = rankers_by_kind(config, candidates, ranker)
    plain: Ranker = ColdRanker(known, candidates.cold_trie, content, None)
    if ranker.scores_items:
        plain = ranker.over(catalog_of(candidates, candidates.cold_trie))
    ways = [
        SlotRanker(f"{ranker.name}, back-off", known, of_cold, slots),
        SlotRanker(f"{ranker.name}, {'by score' if ranker.scores_items else 'by ID'}", known, plain, slots),
    ]
    return [*ways, SlotRanker(SemanticKNN.name, SemanticKNN(content, ~cold), SemanticKNN(content, cold), slots)]


def rankers_by_kind(config: ConfigDict, candidates: Candidates, ranker: ModelRanker) -> tuple[ModelRanker, ColdRanker]:
    """Returns the model over the items that it was trained on, and over the cold ones, with back-off.

    Args:
      config, candidates, ranker: as of `slot_rankers`.
    """
    known = ranker.over(catalog_of(candidates, candidates.known))
    assert candidates.content is not None  # asked for by the slots
    return known, ColdRanker(known, candidates.cold_trie, candidates.content, BackOff(**config.backoff.to_dict()))


def with_cold(known: np.ndarray, cold: np.ndarray, count: int, slots: int, places: int = PLACES) -> np.ndarray:
    """Returns lists in which of every `places` places the last `slots` are for cold items, and the others for known.

    TIGER's rule (Rajput et al., 2305.05065, section 4.3). Where there are too few of one kind, those that follow move
    up: up to `slots` of the first `places` are cold unless there are too few known items.

    Args:
      known: `[B, M]` int32, the best first, -1 for none.
      cold: `[B, n]` int32, the same.
      count: k.
      slots: from 0 to `places`.
      places: 1 or more.

    Returns:
      `[B, k]` int32; -1 where there are no more.
    """
    order = slot_order(known, cold, slots, places)[:, :count]
    lists = np.take_along_axis(np.concatenate([known, cold], axis=1), order, axis=1).astype(np.int32)
    return np.pad(lists, ((0, 0), (0, count - lists.shape[1])), constant_values=-1)


def slot_order(known: np.ndarray, cold: np.ndarray, slots: int, places: int) -> np.ndarray:
    """Returns the order `[B, M + n]` of known and cold items, joined side by side, by the rule of `with_cold`."""
    together = np.concatenate([known, cold], axis=1)
    place = np.concatenate(
        [
            _places(known.shape[1], 0, places - slots, places),
            _places(cold.shape[1], places - slots, slots, places),
        ]
    )
    return np.argsort(np.where(together < 0, np.iinfo(np.int64).max, place), axis=1, kind="stable")


def _places(number: int, first: int, width: int, places: int) -> np.ndarray:
    """Returns `[number]` int64: where each item of a kind stands, which has `width` of every so many places."""
    if not width:
        # After everything that has a place.
        return np.arange(number) + np.iinfo(np.int32).max
    nth = np.arange(number)
    return nth // width * places + first + nth % width
