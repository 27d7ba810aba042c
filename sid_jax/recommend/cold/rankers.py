"""Rankers of cold items, and lists with slots for cold items by TIGER's rule."""

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

# Number of items that a search retrieves in addition to the list's items, since some items may be excluded afterwards.
_SPARE = 50


class ColdRanker:
    """Ranks cold items only.

    Args:
      ranker: the model's ranker of its training items.
      cold: the trie of the cold items.
      content: `[N, D]` float32 vectors of length 1 of all items.
      back_off: parameters of the back-off score. If it is None, items are scored by the log-probability of their full
        IDs, although the model was not trained on these IDs. None is possible only for a model that generates IDs.
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
        """Returns the result of `recommend`, and the items' scores `[B, count]` float32."""
        # The number of retrieved items is rounded up to a power of two, so that few programs are compiled.
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
        # A model that scores items gives no probabilities of IDs, so it needs back-off scores.
        assert back_off is not None
        scores = cold_scores_of_items(model, histories, known, vectors, cold, content, back_off, num_beams)
    elif back_off is None:
        scores = prefix_scores(model, histories, known, cold, len(cold.sizes))
    else:
        scores = cold_scores(model, histories, known, cold, content, back_off, num_beams)
    best, places = jax.lax.top_k(scores, count)
    return cold.items[places], best


class SlotRanker:
    """Ranks all items, in lists with slots for cold items.

    Args:
      name: name of the ranker in tables.
      known: the ranker of warm items.
      cold: the ranker of cold items.
      slots: number of slots for cold items in each block of `places` positions of a list.
      places: number of positions in a block; 1 or more.
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
    """Returns three rankers with `config.eval.cold_slots` slots for cold items.

    Two rankers use the model. The first one ranks cold items by back-off scores. The second one ranks cold items by the
    probability of their full IDs, or by the model's own scores if the model scores items. The third ranker uses
    semantic kNN, for both warm and cold items.

    Args:
      config: from `sid_jax.recommend.config`.
      candidates: candidates with cold items and content.
      ranker: the trained model.
    """
    slots, cold, content = config.eval.cold_slots, candidates.cold, candidates.content
    assert content is not None  # Content was loaded, since slots for cold items need it.
    known, of_cold = rankers_by_kind(config, candidates, ranker)
    plain: Ranker = ColdRanker(known, candidates.cold_trie, content, None)
    if ranker.scores_items:
        plain = ranker.over(catalog_of(candidates, candidates.cold_trie))
    of_model = [
        SlotRanker(f"{ranker.name}, back-off", known, of_cold, slots),
        SlotRanker(f"{ranker.name}, {'by score' if ranker.scores_items else 'by ID'}", known, plain, slots),
    ]
    return [*of_model, SlotRanker(SemanticKNN.name, SemanticKNN(content, ~cold), SemanticKNN(content, cold), slots)]


def rankers_by_kind(config: ConfigDict, candidates: Candidates, ranker: ModelRanker) -> tuple[ModelRanker, ColdRanker]:
    """Returns two rankers of the model: one of its training items, and one of cold items by back-off scores.

    Args:
      config, candidates, ranker: see `slot_rankers`.
    """
    known = ranker.over(catalog_of(candidates, candidates.known))
    assert candidates.content is not None  # Content was loaded, since slots for cold items need it.
    return known, ColdRanker(known, candidates.cold_trie, candidates.content, BackOff(**config.backoff.to_dict()))


def with_cold(known: np.ndarray, cold: np.ndarray, count: int, slots: int, places: int = PLACES) -> np.ndarray:
    """Merges lists of warm and cold items. In each block of `places` positions, the last `slots` are for cold items.

    This is TIGER's rule (Rajput et al., 2305.05065, section 4.3). If there are too few items of one kind, the items
    after the gaps move up. At most `slots` of the first `places` items are cold, unless there are too few warm items.

    Args:
      known: `[B, M]` int32 warm items, the best first, padded with -1.
      cold: `[B, n]` int32 cold items, the best first, padded with -1.
      count: k, length of the lists.
      slots: number of slots for cold items in each block, from 0 to `places`.
      places: number of positions in a block; 1 or more.

    Returns:
      `[B, k]` int32; -1 past the last item.
    """
    order = slot_order(known, cold, slots, places)[:, :count]
    lists = np.take_along_axis(np.concatenate([known, cold], axis=1), order, axis=1).astype(np.int32)
    return np.pad(lists, ((0, 0), (0, count - lists.shape[1])), constant_values=-1)


def slot_order(known: np.ndarray, cold: np.ndarray, slots: int, places: int) -> np.ndarray:
    """Returns the indices `[B, M + n]` that order the concatenated warm and cold items by the rule of `with_cold`."""
    together = np.concatenate([known, cold], axis=1)
    place = np.concatenate(
        [
            _places(known.shape[1], 0, places - slots, places),
            _places(cold.shape[1], places - slots, slots, places),
        ]
    )
    return np.argsort(np.where(together < 0, np.iinfo(np.int64).max, place), axis=1, kind="stable")


def _places(number: int, first: int, width: int, places: int) -> np.ndarray:
    """Returns the list positions of `number` items, int64.

    In each block of `places` positions, the items get `width` positions, from position `first` of the block on.
    """
    if not width:
        # Items without a slot come after all other items.
        return np.arange(number) + np.iinfo(np.int32).max
    nth = np.arange(number)
    return nth // width * places + first + nth % width
