"""A run from config to trained model. It reads top to bottom: data, mesh, model, state, steps, evaluation."""

from __future__ import annotations

import math
import time
from pathlib import Path

import jax.numpy as jnp
from ml_collections import ConfigDict
from rich.console import Console

from sid_jax.config import check_config, default_config
from sid_jax.data.load import load_corpus
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError
from sid_jax.metrics.codes import max_distinct_rate
from sid_jax.training.checkpoints import CHECKPOINTS_FOLDER, Checkpoints
from sid_jax.training.corpus import most_steps_a_call, open_corpus
from sid_jax.training.evaluate import Evaluation, evaluate
from sid_jax.training.interruption import Interruption
from sid_jax.training.processes import SharedFlag, agreed, from_first, is_first, noticing_loss
from sid_jax.training.recipe import Recipe
from sid_jax.training.reporter import Reporter
from sid_jax.training.schedules import Durations
from sid_jax.training.sharding import all_devices, on_every_device, refuse_uneven_batches
from sid_jax.training.state import abstract_model, abstract_state, begin, level_sizes, make_state
from sid_jax.training.wandb_records import check_wandb
from sid_jax.training.workdir import claim_workdir


@noticing_loss()
def train(config: ConfigDict, workdir: Path, *, console: Console | None = None, started: float | None = None) -> bool:
    """Trains until the config's last epoch, from the start or from where the workdir's last checkpoint stands.

    Killed at any moment and started again, a run ends bit for bit where it would have ended. SIGTERM and Ctrl-C save
    and return. Several processes train as one (see `training.processes`); the first of them prints.

    Args:
      config: as from `sid_jax.config`, or a file in `configs/`.
      workdir: the run's folder, for its settings, checkpoints and metrics.
      console: where to print; standard output if None.
      started: `time.monotonic()` from which to count the start-up time; None for now.

    Returns:
      Whether the run is finished; it is not if it was asked to stop.

    Raises:
      UserError: for a config, data or a workdir that cannot be used.
    """
    started = started or time.monotonic()
    with agreed():
        check_config(config)
        check_wandb(config.train.wandb)
        data = load_corpus(config)
        fingerprint = data.fingerprint()
        left_out, data = data.left_out, data.trained()
        _refuse_too_few_items(config, data)
        most = _max_distinct_rate(data)
        mesh = all_devices()
        refuse_uneven_batches(config.train.batch_size, mesh)
    claim_workdir(
        workdir, config, default_config(), fingerprint, data_shape=data.vectors.shape, num_left_out=left_out.num_rows
    )
    console = (console or Console()) if is_first() else Console(quiet=True)
    if left_out.num_rows:
        console.print(str(left_out), markup=False, highlight=False, soft_wrap=True)

    num_items, num_features = data.vectors.shape
    durations = Durations.of(config.train, num_items, most_steps_a_call=most_steps_a_call(config.train, data.vectors))
    recipe = Recipe.of(config, durations, abstract_model(config, num_features))
    _warn_of_noise_at_the_end(recipe, console)
    with Checkpoints(workdir / CHECKPOINTS_FOLDER, config.train) as checkpoints:
        step = checkpoints.latest_step or 0
        like = abstract_state(config, recipe.optimizer, num_features, mesh)
        if step:
            state = checkpoints.restore(step, like)
        else:
            state = from_first(lambda: make_state(begin(config, data.vectors), recipe.optimizer), like)
            state = on_every_device(state, mesh)
        with (
            open_corpus(config, data, mesh) as corpus,
            Reporter(console, workdir, data, durations, step, started, config) as reporter,
            Interruption() as interruption,
        ):
            evaluation, stop = None, SharedFlag(mesh)
            while step < durations.num_steps and not stop.raised(interruption.asked):
                num_steps = min(durations.log_every_steps, durations.num_steps - step)
                state, metrics = corpus.train_steps(recipe.at(step), state, step, num_steps)
                step += num_steps
                reporter.trained(step, metrics)
                if step % durations.eval_every_steps == 0 or step == durations.num_steps:
                    evaluation = evaluate(recipe, state, data.vectors, most, mesh)
                    with agreed():
                        _refuse_divergence(evaluation, step)
                    reporter.evaluated(step, evaluation.metrics)
                    checkpoints.save(step, state, evaluation.metrics)

        if step < durations.num_steps:
            if step != checkpoints.latest_step:
                checkpoints.save(step, state, None)
            checkpoints.wait()
            reporter.interrupted(step)
        else:
            checkpoints.wait()
            evaluation = evaluation or evaluate(recipe, state, data.vectors, most, mesh)
            reporter.finished(step, evaluation, best_step=checkpoints.best_step)
        return step == durations.num_steps


def _refuse_too_few_items(config: ConfigDict, data: VectorSet) -> None:
    count, largest = len(data.ids), max(level_sizes(config.model))
    if count < 2:
        raise UserError(f"{data.source}: holds one item, and IDs are to tell items apart; give more")
    if largest > count:
        raise UserError(
            f"config.model.codebook_size is {largest}, but there are only {count} items ({data.source}): no more "
            f"codes than items can be in use; set --config.model.codebook_size to {count} or less"
        )


def _max_distinct_rate(data: VectorSet) -> float:
    """Returns `max_distinct_rate`, after seeing that there is something to learn."""
    most = max_distinct_rate(data.vectors)
    if round(most * len(data.ids)) == 1:
        raise UserError(
            f"{data.source}: all {len(data.ids)} vectors are the same, so that no ID could tell one item from another; "
            "see whether this is the file, and the column, of vectors"
        )
    return most


def _refuse_divergence(evaluation: Evaluation, step: int) -> None:
    if not math.isfinite(evaluation.metrics["r2"]):
        raise UserError(
            f"training has diverged: the reconstruction is not finite at step {step}; lower "
            "config.train.learning_rate, in a new --workdir"
        )


def _warn_of_noise_at_the_end(recipe: Recipe, console: Console) -> None:
    last = jnp.int32(recipe.durations.num_steps - 1)
    if recipe.model_settings.quantization_method == "gumbel_softmax" and recipe.noise_scale(last) > 0:
        console.print(
            f"Warning: the temperature ends at {float(recipe.temperature(last)):.3f}, above model.min_temperature, and "
            "the noise with it: training codes will not be those of export. A smaller model.temperature_decay, or "
            "train.annealing_schedule=cosine, reaches the floor.",
            highlight=False,
            soft_wrap=True,
        )
