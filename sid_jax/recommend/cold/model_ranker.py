"""A trained model as something that recommends what it has not seen, and nothing else."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from flax import nnx

from sid_jax.ids.trie import Trie
from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.cold.scores import BackOff, cold_scores, prefix_scores
from sid_jax.recommend.models.catalog import Catalog
from sid_jax.recommend.ranker import ModelRanker, first_allowed
from sid_jax.training.processes import gathered
from sid_jax.training.sharding import on_every_device

# Beside as many as are asked for, so that some can be excluded.
_SPARE = 50


class ColdRanker:
    """Lists of unseen items alone.

    Args:
      ranker: the model, over the items that it was trained on.
      unseen: the trie of the others.
      content: `[N, D]` float32 vectors of length 1 of all items.
      back_off: how they are scored; None: by the log-probability of their exact IDs, which the model never saw.
    """

    def __init__(self, ranker: ModelRanker, unseen: Trie, content: np.ndarray, back_off: BackOff | None):
        self.name = ranker.name
        self._ranker, self._back_off = ranker, back_off
        self._unseen, self._content = on_every_device((unseen, content), ranker.mesh)

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the best unseen items for each history, `[B, count]` int32; -1 where there are no more."""
        found = _find_cold(
            self._ranker.graphdef,
            self._ranker.params,
            self._ranker.shared_out(batch),
            self._ranker.catalog,
            self._unseen,
            self._content,
            self._back_off,
            num_beams=self._ranker.num_beams,
            count=min(count + _SPARE, len(self._unseen.items)),
        )
        return first_allowed(gathered(found)[: len(batch.lengths)], exclude, count)


@functools.partial(jax.jit, static_argnames=("graphdef", "num_beams", "count"))
def _find_cold(
    graphdef: nnx.GraphDef[Any],
    params: nnx.State,
    histories: HistoryBatch,
    known: Catalog,
    unseen: Trie,
    content: jax.Array,
    back_off: BackOff | None,
    *,
    num_beams: int,
    count: int,
) -> jax.Array:
    model: Any = nnx.merge(graphdef, params)
    if back_off is None:
        scores = prefix_scores(model, histories, known, unseen, len(unseen.sizes))
    else:
        scores = cold_scores(model, histories, known, unseen, content, back_off, num_beams)
    return unseen.items[jax.lax.top_k(scores, count)[1]]
