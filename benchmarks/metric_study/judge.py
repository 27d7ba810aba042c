"""The recommender that evaluates an ID table: the same settings for all tables, several test targets per user."""

from __future__ import annotations

import functools
import runpy
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from metric_study.world import QUESTIONS, World
from sid_jax.ids.table import IdTable
from sid_jax.recommend.data.split import Split
from sid_jax.recommend.data.task import Task, make_task
from sid_jax.recommend.evaluation.evaluate import evaluate
from sid_jax.recommend.evaluation.metrics import ndcg_at
from sid_jax.recommend.models import build_model
from sid_jax.recommend.models.catalog import catalog_of
from sid_jax.recommend.ranker import ModelRanker
from sid_jax.recommend.training.loop import training_examples
from sid_jax.recommend.training.step import Recipe, make_state, train_steps
from sid_jax.settings import set_field
from sid_jax.streams import stream_rng
from sid_jax.training.sharding import all_devices, on_every_device

_CONFIGS = Path(__file__).parents[2] / "configs"
# Settings for cheap runs, so that dozens of tables can be evaluated several times. With fewer epochs, random IDs get
# the same results as other IDs. More beams do not change the results.
_SETTINGS = {
    "model.num_layers": 1,
    "model.hidden": 128,
    "model.code_hidden": 128,
    "train.num_epochs": 60.0,
    "train.learning_rate": 3e-3,
    "eval.num_beams": 50,
}


def judge(world: World, semantic_ids: np.ndarray, seed: int) -> np.ndarray:
    """Trains a recommender on a table `[N, L]` and returns each user's NDCG@10, `[U]`, averaged over targets."""
    config = _settings()
    table = IdTable(world.item_ids, semantic_ids, name="judged", shared=True)
    split = Split(world.known, world.questions, world.questions, np.zeros(len(world.item_ids), bool))
    ranker = _train(config, make_task(table, split), seed)
    evaluation = evaluate(
        ranker,
        world.questions,
        window=config.model.window,
        batch_size=config.eval.batch_size,
        exclude_seen=config.eval.exclude_seen,
    )
    return ndcg_at(evaluation.places, 10).reshape(QUESTIONS, -1).mean(axis=0)


@functools.cache
def _settings() -> ConfigDict:
    config = runpy.run_path(str(_CONFIGS / "recommend.py"))["get_config"]("ml100k,decoder")
    for name, value in _SETTINGS.items():
        set_field(config, name, value)
    return config


def _train(config: ConfigDict, task: Task, seed: int) -> ModelRanker:
    """Trains to the last epoch; the seed sets the initial weights and the order of the examples.

    Dropout and the other random numbers inside the compiled program have one fixed seed, so that a table's program is
    compiled only once for all values of `seed`.
    """
    mesh, random = all_devices(), stream_rng(seed, "which_metric")
    seeded = config.copy_and_resolve_references()
    seeded.seed = seed
    examples = training_examples(config, task)
    order = random.permutation(len(examples.inputs))
    examples = jax.tree.map(lambda leaf: leaf[order], examples)
    model = build_model(seeded, task.candidates)
    recipe = Recipe.of(config, len(order), model)
    catalog = catalog_of(task.candidates, task.trie)
    state, examples, catalog = on_every_device((make_state(model, recipe.init_optimizer), examples, catalog), mesh)
    state, _ = train_steps(recipe, state, examples, catalog, num_steps=recipe.lengths.num_steps, mesh=mesh)
    return ModelRanker("decoder", recipe.graphdef, state.params, catalog, num_beams=config.eval.num_beams, mesh=mesh)
