"""What recommends unseen items in a test: the trained model with and without back-off, and what it must beat."""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict

from sid_jax.ids.trie import Trie, build_trie
from sid_jax.recommend.baselines.semantic_knn import SemanticKNN
from sid_jax.recommend.cold.content import load_content
from sid_jax.recommend.cold.model_ranker import ColdRanker
from sid_jax.recommend.cold.scores import BackOff
from sid_jax.recommend.cold.slots import SlotRanker
from sid_jax.recommend.data.task import Task
from sid_jax.recommend.models.catalog import build_catalog
from sid_jax.recommend.ranker import ModelRanker
from sid_jax.training.sharding import all_devices, on_every_device


def slot_rankers(config: ConfigDict, task: Task, ranker: ModelRanker, content: np.ndarray) -> list[SlotRanker]:
    """Returns the model with back-off and by exact IDs, and semantic kNN, all with `config.eval.cold_slots`.

    Args:
      config: as from `sid_jax.recommend.config`.
      task: with cold items.
      ranker: the trained model.
      content: `[N, D]`, as of `load_content`.
    """
    slots, cold = config.eval.cold_slots, task.split.cold
    known, by_content = rankers_by_kind(config, task, ranker, content)
    by_id = ColdRanker(known, _cold_trie(task), content, None)
    return [
        SlotRanker(f"{ranker.name}, back-off", known, by_content, slots),
        SlotRanker(f"{ranker.name}, by ID", known, by_id, slots),
        SlotRanker(SemanticKNN.name, SemanticKNN(content, ~cold), SemanticKNN(content, cold), slots),
    ]


def rankers_by_kind(
    config: ConfigDict, task: Task, ranker: ModelRanker, content: np.ndarray | None = None
) -> tuple[ModelRanker, ColdRanker]:
    """Returns the model over the items that it was trained on, and with back-off over the others.

    Args:
      config, task, ranker: as of `slot_rankers`; the task's catalog may have gone on.
      content: `[N, D]`, as of `load_content`, which is called where it is None.
    """
    if content is None:
        gone = np.ones(len(task.split.cold), bool)
        gone[np.asarray(task.trie.items)] = False
        content = load_content(config, task.table.item_ids, task.split.cold, gone)
    known = ranker.over(on_every_device(build_catalog(task.table.semantic_ids, task.known), all_devices()))
    return known, ColdRanker(known, _cold_trie(task), content, BackOff(**config.backoff.to_dict()))


def _cold_trie(task: Task) -> Trie:
    there = np.asarray(task.trie.items)
    return build_trie(task.table.semantic_ids, task.trie.sizes, rows=there[task.split.cold[there]])
