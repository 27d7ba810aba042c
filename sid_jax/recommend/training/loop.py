"""A recommender's run from task to trained model: mesh, model, state, steps, validation."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict
from rich.console import Console

from sid_jax.errors import UserError
from sid_jax.recommend.batch import user_numbers
from sid_jax.recommend.config import MADE_IDS, default_config
from sid_jax.recommend.data.packing import PackedRows, PrefixExamples, pack_rows, prefix_examples
from sid_jax.recommend.data.task import Task
from sid_jax.recommend.evaluation.evaluate import evaluate
from sid_jax.recommend.models.build import build_model
from sid_jax.recommend.models.catalog import Catalog, build_catalog
from sid_jax.recommend.ranker import ModelRanker
from sid_jax.recommend.training.reporter import Reporter
from sid_jax.recommend.training.step import Recipe, TrainState, make_state, train_steps
from sid_jax.streams import stream_rng
from sid_jax.training.checkpoints import CHECKPOINTS_FOLDER, Checkpoints
from sid_jax.training.interruption import Interruption
from sid_jax.training.sharding import all_devices, on_every_device, refuse_uneven_batches
from sid_jax.training.workdir import claim_workdir

# What may change between two starts of a run: where things lie, and how the trained model is tested.
_FREE_TO_CHANGE = (
    "ids",
    "data.path",
    "data.cache_dir",
    "quantizer.data.path",
    "quantizer.data.ids_path",
    "quantizer.data.histories.path",
    "quantizer.data.cache_dir",
    "eval.baselines",
    "eval.bootstrap_samples",
    "eval.cold_slots",
    "backoff.sharpness",
    "backoff.history_share",
    "backoff.decay",
    "backoff.prefix_levels",
    "backoff.prefix_weight",
)
# Where IDs are given, the quantizer's data say nothing but what items are like.
_FREE_WITH_GIVEN_IDS = tuple(
    f"quantizer.data.{name}" for name in ("source", "id_column", "vector_column", "text_column", "text_encoder")
)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run at its best checkpoint.

    Attributes:
      ranker: the model, to be asked.
      step: of the checkpoint; 0 if the run was interrupted before there was one.
      finished: whether the run has come to its end.
      seconds: how long this process trained, without validation.
    """

    ranker: ModelRanker
    step: int
    finished: bool
    seconds: float


def train_recommender(
    config: ConfigDict,
    task: Task,
    workdir: Path,
    *,
    console: Console,
    name: str = "",
    quiet: bool = False,
    begun: TrainState | None = None,
) -> Trained:
    """Trains until the config's last epoch, from the start or from where the workdir's last checkpoint stands.

    Args:
      config: as from `sid_jax.recommend.config`.
      task: what to learn from.
      workdir: the run's folder.
      console: where to print.
      name: of the recommender in tables; the model's kind if empty.
      quiet: prints no line for each validation.
      begun: the state to go on from where the workdir has no checkpoint; None starts with parameters drawn anew.

    Raises:
      UserError: for a workdir of another run, or a run that diverges.
    """
    mesh = all_devices()
    refuse_uneven_batches(config.train.batch_size, mesh)
    claim_workdir(workdir, config, default_config(), task.fingerprint(), free_to_change=free_to_change(config))
    examples = training_examples(config, task)
    abstract = nnx.eval_shape(lambda: build_model(config, task.trie))
    recipe = Recipe.of(config, len(jax.tree.leaves(examples)[0]), abstract)
    lengths = recipe.lengths
    examples, catalog = on_every_device((examples, build_catalog(task.table.semantic_ids, task.known)), mesh)
    asked = _validation_users(config, task)
    seconds = 0.0
    with Checkpoints(workdir / CHECKPOINTS_FOLDER, config.train) as checkpoints:
        if checkpoints.latest_step:
            state = checkpoints.restore(checkpoints.latest_step, abstract_state(recipe, abstract, mesh))
        else:
            state = on_every_device(begun or make_state(build_model(config, task.trie), recipe.optimizer), mesh)
        step = int(state.step)
        with Reporter(console, workdir, task, recipe, step, quiet=quiet) as reporter, Interruption() as interruption:
            while step < lengths.num_steps and not interruption.asked:
                num_steps = min(lengths.log_every_steps, lengths.num_steps - step)
                began = time.monotonic()
                state, metrics = train_steps(recipe, state, examples, catalog, num_steps=num_steps, mesh=mesh)
                step += num_steps
                reporter.trained(step, metrics)
                if step % lengths.eval_every_steps == 0 or step == lengths.num_steps:
                    jax.block_until_ready(state)
                    seconds += time.monotonic() - began
                    refuse_divergence(metrics, step)
                    evaluation = evaluate(
                        _ranker(config, name, recipe, state, catalog, mesh),
                        task.split.validation,
                        window=config.model.window,
                        batch_size=config.eval.batch_size,
                        exclude_seen=config.eval.exclude_seen,
                        users=asked,
                    )
                    reporter.evaluated(step, evaluation.metrics)
                    checkpoints.save(step, state, evaluation.metrics)
                else:
                    seconds += time.monotonic() - began
        if step < lengths.num_steps and step != checkpoints.latest_step:
            checkpoints.save(step, state, None)
        checkpoints.wait()
        best = checkpoints.best_step
        if best is not None and best != step:
            state = checkpoints.restore(best, abstract_state(recipe, abstract, mesh))
        finished = step >= lengths.num_steps
        if finished:
            interruption.pass_on()
        else:
            reporter.interrupted(step)
    # Cold items were no candidates, so that nothing was learned against them; from here on they are.
    everything = on_every_device(build_catalog(task.table.semantic_ids, task.trie), mesh)
    return Trained(_ranker(config, name, recipe, state, everything, mesh), best or 0, finished, seconds)


def free_to_change(config: ConfigDict) -> tuple[str, ...]:
    """Returns the settings that may change between two starts of a run."""
    made = config.ids == "rqvae" or config.ids in MADE_IDS
    return _FREE_TO_CHANGE if made else _FREE_TO_CHANGE + _FREE_WITH_GIVEN_IDS


def training_examples(config: ConfigDict, task: Task) -> PackedRows | PrefixExamples:
    """Returns packed rows, or for an encoder-decoder one example for each next item."""
    train = task.split.train
    if config.model.kind == "encoder_decoder":
        return prefix_examples(train, config.model.window, user_numbers(train.user_ids))
    return pack_rows(train, config.model.window, config.train.row_length)


def abstract_state(recipe: Recipe, model: nnx.Module, mesh: Mesh) -> TrainState:
    """Returns the shapes and types of a run's state, each to be on every device of the mesh."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    shapes = jax.eval_shape(lambda: make_state(model, recipe.optimizer))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), shapes)


def _ranker(
    config: ConfigDict, name: str, recipe: Recipe, state: TrainState, catalog: Catalog, mesh: Mesh
) -> ModelRanker:
    return ModelRanker(
        name or config.model.kind,
        recipe.graphdef,
        state.params,
        catalog,
        num_beams=config.eval.num_beams,
        mesh=mesh,
    )


def _validation_users(config: ConfigDict, task: Task) -> np.ndarray | None:
    """Returns the users that are validated on, None for all: a sample of its own stream, the same for every table."""
    there, wanted = len(task.split.validation.targets), config.eval.validation_users
    if wanted == 0 or wanted >= there:
        return None
    return np.sort(stream_rng(0, "validation_users").choice(there, wanted, replace=False))


def refuse_divergence(metrics: dict[str, Any], step: int) -> None:
    """Refuses to go on from a loss that is not finite."""
    if not math.isfinite(float(np.mean(metrics["loss"]))):
        raise UserError(
            f"training has diverged: the loss is not finite at step {step}; lower config.train.learning_rate, in a new "
            "--workdir"
        )
