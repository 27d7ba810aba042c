"""Trains the quantizer, from a config and its files or from vectors in memory."""

from __future__ import annotations

import contextlib
import shlex
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from sid_jax.config import check_config, default_config
from sid_jax.data.blocks import rescaled_rows, zero_rows
from sid_jax.data.catalogs.vectors import column_names
from sid_jax.data.load import load_corpus
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError, shown
from sid_jax.messages import Messages
from sid_jax.metrics.codes import max_distinct_rate, perplexity_of_counts, usage_of_counts
from sid_jax.metrics.crowding import crowding_line
from sid_jax.paths import typed
from sid_jax.settings import AUTO
from sid_jax.training.augmentation import with_augmentation
from sid_jax.training.checkpoints import open_checkpoints
from sid_jax.training.corpus import ResidentCorpus, StreamedCorpus, durations_of, open_corpus
from sid_jax.training.evaluate import Evaluation, evaluate, measured_rows
from sid_jax.training.level_choice import with_levels
from sid_jax.training.precision_choice import with_precision
from sid_jax.training.processes import agreed, from_first, is_first, noticing_loss
from sid_jax.training.recipe import Recipe
from sid_jax.training.records import check_wandb
from sid_jax.training.restore import TrainedRun
from sid_jax.training.run_loop import Evaluated, Job, best_of, refuse_divergence, run
from sid_jax.training.schedules import peak_learning_rate, settle_share_of
from sid_jax.training.sharding import all_devices, on_every_device, refuse_uneven_batches
from sid_jax.training.state import TrainState, abstract_model, abstract_state, begin, level_sizes, make_state
from sid_jax.training.summary import evaluation_text, show_samples, show_summary, steps_text
from sid_jax.training.workdir import claimed_workdir, has_run, read_run

# A warning is printed if the last noise scale is above this share of the initial noise scale. Presets have an initial
# scale of at most 0.2 (in units of the squared distance between neighboring codewords), so the limit is at most 0.0002.
# Noise below the limit changes only the codes of items for which two codes are almost equally good.
_LEAST_NOISE = 0.001
# Maximum number of items, from the first row on, that are searched for vectors that differ only in length.
_MOST_COMPARED = 16_384


@noticing_loss()
def train(
    config: ConfigDict,
    workdir: Path,
    *,
    messages: Messages | None = None,
    started: float | None = None,
    exported: bool = False,
    nested: bool = False,
) -> TrainedRun | None:
    """Trains a quantizer on the files that the config names. Returns and raises as `train_quantizer` does.

    Args:
      config: from `sid_jax.config`, or from a file in `configs/`.
      workdir: the run's folder, for its settings, checkpoints and metrics.
      messages, started, exported: see `train_quantizer`.
      nested: whether training is part of `sid-jax recommend`, where settings have other names in errors.
    """
    started = started or time.monotonic()
    with agreed():
        check_config(config)
        check_wandb(config.train.wandb)
        section = "config.quantizer" if nested else "config"
        data = load_corpus(config, f"--{section}.data.on_bad_rows=drop")
    return train_quantizer(config, data, workdir=workdir, messages=messages, started=started, exported=exported)


@noticing_loss()
def train_quantizer(
    config: ConfigDict,
    data: VectorSet,
    *,
    workdir: Path | None = None,
    messages: Messages | None = None,
    started: float | None = None,
    exported: bool = False,
) -> TrainedRun | None:
    """Trains a quantizer on vectors, for the number of epochs in the config.

    With a workdir, training resumes from the last checkpoint. A run that is killed and resumed gives the same result as
    an uninterrupted run, bit for bit. SIGTERM and Ctrl-C save a checkpoint and end the training. Without a workdir,
    nothing is written to disk, and an interrupted run is lost. Several processes train one model together (see
    `training.processes`); only the first process prints messages.

    Args:
      config: from `sid_jax.config`. Its settings that name files are ignored.
      data: the items. Cold items are excluded from training.
      workdir: the run's folder, for its settings, checkpoints and metrics; None keeps everything in memory.
      messages: where text is printed; standard output if None.
      started: `time.monotonic()` at the start of the program, for the reported start-up time; None for the time of
        this call.
      exported: whether an export follows in the same command. If so, no next command is suggested, and the warning
        about too few distinct code tuples is left to the export.

    Returns:
      The run at the best checkpoint by `train.best_metric`; None if training was interrupted.

    Raises:
      UserError: if the config, the data or the workdir cannot be used, or if training diverges.
    """
    started = started or time.monotonic()
    messages = (messages or Messages.to_console()) if is_first() else Messages.silent()
    with agreed():
        check_config(config)
        trained, mesh, asked = data.trained(), all_devices(), config
        config = with_augmentation(config, len(trained.ids))
        config = with_levels(config, trained, workdir, messages)
        config = with_precision(config, trained.vectors.shape[1], workdir, messages)
        _refuse_too_few_items(config, trained)
        most = _max_distinct_rate(trained)
        refuse_uneven_batches(config.train.batch_size, mesh)
        fingerprint = data.fingerprint() if workdir else ""
    claim: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if workdir:
        _warn_of_dropped_columns(config, workdir, messages)
        shape, num_left_out = trained.vectors.shape, data.left_out.num_rows
        claim = claimed_workdir(
            workdir,
            config,
            default_config(),
            fingerprint,
            data_shape=shape,
            num_left_out=num_left_out,
            layout=data.layout,
        )
    if data.left_out.num_rows:
        messages.warn(str(data.left_out))
    _warn_of_zeros(data, messages)
    if config.data.unit_norm and data.layout is None:
        _warn_of_lengths(data, messages)
    job = _QuantizerJob(config, trained, most, mesh)
    _warn_of_noise_at_the_end(job.recipe, messages)
    with claim, open_checkpoints(workdir, config.train) as checkpoints:
        if derived := _derived_settings(asked, job):
            messages.line(f"Settings that are auto in the config: {derived}")
        ended = run(job, checkpoints, workdir=workdir, messages=messages)
        if not ended.finished:
            return None
        # If the run was already finished, no step was taken and nothing was evaluated.
        evaluation = job.evaluation or job.measure(ended.state)
        startup = ended.first_steps and ended.first_steps - started
        show_samples(messages, trained, evaluation.codes)
        show_summary(messages, evaluation.metrics, ended.step, time.monotonic() - started, startup)
        # An export that follows prints this warning.
        if not exported and (crowded := crowding_line(evaluation.metrics)):
            messages.warn(crowded)
        state, step = best_of(job, checkpoints, ended)
        if step not in (None, ended.step):
            messages.line(f"The best checkpoint is that of step {step:,}{'; export uses it' * bool(workdir)}.")
        if workdir:
            messages.line(f"The run is in {workdir}: run.json, checkpoints, metrics.jsonl, tensorboard")
        if workdir and not exported:
            command = f"sid-jax export --workdir={typed(workdir)} --out={shlex.quote(f'exports/{workdir.name}')}"
            messages.line(f"Next: {command} (--input=FILES exports other vectors)")
    return TrainedRun(config, data, job.recipe, state, step or ended.step, ended.records)


class _QuantizerJob(Job[TrainState]):
    """The job that the run loop executes to train the quantizer."""

    def __init__(self, config: ConfigDict, data: VectorSet, most: float, mesh: Mesh):
        self._num_features, self._layout = data.vectors.shape[1], data.layout
        self.num_items = len(data.ids)
        durations = durations_of(config.train, data.vectors.shape)
        super().__init__(config, mesh, durations)
        self._data, self._most, self._measured = data, most, measured_rows(len(data.ids), config.seed)
        self.recipe = Recipe.of(config, durations, abstract_model(config, self._num_features, self._layout))
        self.evaluation: Evaluation | None = None
        self._corpus: ResidentCorpus | StreamedCorpus

    def __enter__(self) -> _QuantizerJob:
        self._corpus = open_corpus(self.config, self._data, self.mesh).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._corpus.__exit__()

    def abstract_state(self) -> TrainState:
        return abstract_state(self.config, self.recipe.optimizer, self._num_features, self.mesh, self._layout)

    def begin(self) -> TrainState:
        def make() -> TrainState:
            return make_state(begin(self.config, self._data.vectors, self._layout), self.recipe.init_optimizer)

        return on_every_device(from_first(make, self.abstract_state()), self.mesh)

    def evaluates(self, step: int) -> bool:
        # An evaluation takes about as long as a quarter of an epoch. With `num_epochs="auto"`, the evaluations of more
        # than about 1.2 million items would be less than two epochs apart. Such a run is evaluated only at its end.
        lengths = self.lengths
        rare = self.config.train.num_epochs != AUTO or lengths.eval_every_steps >= 2 * lengths.steps_per_epoch
        return step == lengths.num_steps or (rare and super().evaluates(step))

    def opening(self) -> str:
        num_items, num_features = self._data.vectors.shape
        return f"{num_items:,} vectors of {num_features} features ({self._data.source})"

    def take_steps(self, state: TrainState, step: int, num_steps: int) -> tuple[TrainState, dict[str, Any]]:
        return self._corpus.train_steps(self.recipe.at(step), state, step, num_steps)

    def row(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Converts the metrics of several steps to numbers.

        The result has the last value of each schedule, the usage and the perplexity of the codes over all these steps,
        and the mean of each other metric.
        """
        counts = metrics.pop("counts")
        scheduled = ("temperature", "noise_scale", "learning_rate")
        row = {name: float(values[-1] if name in scheduled else np.mean(values)) for name, values in metrics.items()}
        return {**row, "usage": usage_of_counts(counts), "perplexity": perplexity_of_counts(counts)}

    def shown(self, row: dict[str, Any]) -> str:
        return steps_text(row, self.evaluation.metrics["distinct_rate"] if self.evaluation else None)

    def measure(self, state: TrainState) -> Evaluation:
        """Returns the evaluation on the whole corpus."""
        return evaluate(self.recipe, state, self._data.vectors, self._most, self.mesh, self._measured)

    def evaluate(self, state: TrainState, step: int, row: dict[str, Any]) -> Evaluated[TrainState]:
        self.evaluation = self.measure(state)
        with agreed():
            refuse_divergence(self.evaluation.metrics["r2"], step, "reconstruction")
        return Evaluated(state, self.evaluation.metrics, evaluation_text(row, self.evaluation.metrics))


def _derived_settings(asked: ConfigDict, job: _QuantizerJob) -> str:
    """Returns the names and values of settings that are "auto" in the config `asked`, as text.

    The number of epochs and the precision are printed elsewhere.
    """
    model, train = job.config.model, job.config.train
    derived = {
        "model.num_levels": (asked.model.num_levels, model.num_levels),
        "model.codebook_size": (asked.model.codebook_size, model.codebook_size),
        "train.augmentation": (asked.train.augmentation, train.augmentation),
        "train.settle_share": (asked.train.settle_share, settle_share_of(train, job.num_items)),
        "train.learning_rate": (asked.train.learning_rate, peak_learning_rate(train, job.lengths.num_steps)),
    }
    return ", ".join(f"{name}={value:.3g}" for name, (setting, value) in derived.items() if setting == AUTO)


def _warn_of_dropped_columns(config: ConfigDict, workdir: Path, messages: Messages) -> None:
    """Warns if exports of an existing run had columns that the config no longer names."""
    if not has_run(workdir):
        return
    before = column_names(read_run(workdir, default_config())[0].data.columns)
    dropped = [name for name in before if name not in column_names(config.data.columns)]
    if dropped:
        messages.warn(
            f"later exports of this run will not have the columns {', '.join(dropped)}, since config.data.columns does "
            f"not name them; to keep them, add --config.data.columns={','.join(before)}"
        )


def _refuse_too_few_items(config: ConfigDict, data: VectorSet) -> None:
    count, largest = len(data.ids), max(level_sizes(config.model))
    if count < 2:
        raise UserError(f"{data.source}: there is only one item; give at least two, since IDs distinguish items")
    levels, num_features = config.model.num_levels, data.vectors.shape[1]
    if config.model.quantizer == "opq" and levels > num_features:
        raise UserError(
            f"config.model.num_levels is {levels}, but vectors have {num_features} features ({data.source}): opq "
            f"gives each level its own features; set --config.model.num_levels to {num_features} or less"
        )
    if largest > count:
        raise UserError(
            f"config.model.codebook_size is {largest}, but there are only {count} items ({data.source}); set "
            f"--config.model.codebook_size to {count} or less"
        )


def _max_distinct_rate(data: VectorSet) -> float:
    """Returns the `max_distinct_rate` of the vectors; raises a UserError if all vectors are equal."""
    most = max_distinct_rate(data.vectors)
    if round(most * len(data.ids)) == 1:
        raise UserError(
            f"{data.source}: all {len(data.ids)} vectors are equal, so IDs cannot distinguish items; check that "
            "this file and column contain the item vectors"
        )
    return most


def _warn_of_lengths(data: VectorSet, messages: Messages) -> None:
    vectors = np.asarray(data.vectors[:_MOST_COMPARED], np.float32)
    rows = rescaled_rows(vectors)
    if len(rows):
        item = shown(data.ids[rows[:1]].tolist()[0])
        messages.warn(
            f"{len(rows):,} of {len(vectors):,} vectors differ from another vector only in length, the first one in "
            f"row {rows[0]} (counted from 0, id {item}). With data.unit_norm=True, these items get "
            "the same codes; set data.unit_norm=False if the lengths have a meaning"
        )


def _warn_of_zeros(data: VectorSet, messages: Messages) -> None:
    rows = zero_rows(data.vectors)
    if len(rows):
        item = shown(data.ids[rows[:1]].tolist()[0])
        messages.warn(
            f"{len(rows):,} of {len(data.ids):,} vectors are all zeros, the first one in row {rows[0]} "
            f"(counted from 0, id {item}). They get IDs like other items; remove them if they are padding"
        )


def _warn_of_noise_at_the_end(recipe: Recipe, messages: Messages) -> None:
    last, model = jnp.int32(recipe.lengths.num_steps - 1), recipe.model_settings
    if model.quantization_method != "gumbel_softmax":
        return
    if float(recipe.noise_scale(last)) <= _LEAST_NOISE * model.noise_scale:
        return
    consequence = "so noise remains and training codes will differ from exported codes"
    if model.temperature <= model.min_temperature:
        messages.warn(
            f"config.model.min_temperature equals config.model.temperature={model.temperature}, {consequence}."
            " Set a lower minimum, or config.model.noise_scale=0."
        )
        return
    messages.warn(
        f"the temperature ends at {float(recipe.temperature(last)):.4g}, above "
        f"config.model.min_temperature={model.min_temperature}, {consequence}. To reach the minimum, set "
        f"{_way_to_the_minimum(recipe.settings)}."
    )


def _way_to_the_minimum(train: ConfigDict) -> str:
    if not train.temperature_annealing:
        return "config.train.temperature_annealing=True"
    if train.annealing_schedule == "exponential":
        return "a smaller config.model.temperature_decay, or config.train.annealing_schedule=cosine"
    if train.annealing_schedule == "constant":
        return "config.train.annealing_schedule=cosine"
    # The schedules "linear" and "cosine" miss the minimum only if the run ends before the temperature's first update.
    return (
        f"config.train.num_epochs above config.train.temperature_update_frequency={train.temperature_update_frequency}"
    )
