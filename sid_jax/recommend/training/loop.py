"""Trains a recommender: takes training steps, validates the model, and fits the weights of the blend."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from sid_jax.messages import Messages
from sid_jax.recommend.batch import user_numbers
from sid_jax.recommend.config import MADE_IDS, default_config
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.data.packing import PackedRows, PrefixExamples, pack_rows, prefix_examples
from sid_jax.recommend.data.task import Task
from sid_jax.recommend.evaluation.evaluate import evaluate
from sid_jax.recommend.models import build_model
from sid_jax.recommend.models.catalog import Catalog, catalog_of
from sid_jax.recommend.ranker import ModelRanker
from sid_jax.recommend.training.blend import fit_blend, make_blend
from sid_jax.recommend.training.step import Recipe, TrainState, make_state, train_steps
from sid_jax.streams import stream_rng
from sid_jax.training.checkpoints import open_checkpoints
from sid_jax.training.processes import agreed, from_first, is_first, noticing_loss
from sid_jax.training.run_loop import Evaluated, Job, best_of, refuse_divergence, run
from sid_jax.training.sharding import abstract_on_every_device, all_devices, on_every_device, refuse_uneven_batches
from sid_jax.training.workdir import claimed_workdir
from sid_jax.wording import counted

# Settings that may change between two starts of a run. They locate the data, decide about unknown items, or take effect
# only after training. If the data itself changes, the task's fingerprint changes, and the run does not start.
_FREE_TO_CHANGE = (
    "ids",
    "data.path",
    "data.on_unknown",
    "data.cache_dir",
    "quantizer.data.path",
    "quantizer.data.on_unknown",
    "quantizer.data.ids_path",
    "quantizer.data.histories.path",
    "quantizer.data.cache_dir",
    "model.blend",
    "eval.baselines",
    "eval.bootstrap_samples",
    "eval.cold_slots",
    "backoff.sharpness",
    "backoff.history_share",
    "backoff.decay",
    "backoff.prefix_levels",
    "backoff.prefix_weight",
)
# Further settings that may change if `config.ids` names existing IDs, since `quantizer.data` is then used only for
# content vectors.
_FREE_WITH_GIVEN_IDS = tuple(
    f"quantizer.data.{name}" for name in ("source", "id_column", "vector_column", "text_column", "text_encoder")
)

_OF_EVERY_RUN = ("loss", "level_loss", "gradient_norm", "learning_rate")


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained recommender at its best checkpoint.

    Attributes:
      ranker: the trained model.
      candidates: the task's items, with the terms that are blended into the model's scores.
      step: the step of the checkpoint; 0 if the run was interrupted before its first checkpoint.
      finished: whether the run is complete.
      seconds: training time of this process, without validation.
    """

    ranker: ModelRanker
    candidates: Candidates
    step: int
    finished: bool
    seconds: float


@noticing_loss()
def train_recommender(
    config: ConfigDict,
    task: Task,
    workdir: Path | None,
    *,
    messages: Messages,
    name: str = "",
    quiet: bool = False,
    begun: TrainState | None = None,
) -> Trained:
    """Trains a recommender, from the start or from the workdir's last checkpoint.

    Training ends after the config's last epoch, or by early stopping (`train.patience`).
    In a run of several data-parallel processes (see `sid_jax.training.processes`), only the first process prints.

    Args:
      config: from `sid_jax.recommend.config`.
      task: the catalog and its histories.
      workdir: the run's folder; None writes nothing to disk.
      messages: where text is printed.
      name: name of the recommender in tables; the model's kind if empty.
      quiet: whether to omit the lines that are printed at the start and at each validation.
      begun: the initial state if the workdir has no checkpoint; None starts with new random parameters.

    Raises:
      UserError: if the workdir belongs to another run, or training diverges.
    """
    messages = messages if is_first() else Messages.silent()
    mesh = all_devices()
    with agreed():
        refuse_uneven_batches(config.train.batch_size, mesh)
    claim: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if workdir:
        fingerprint = task.fingerprint(with_content=config.model.kind == "scorer")
        claim = claimed_workdir(workdir, config, default_config(), fingerprint, free_to_change=free_to_change(config))
    job = _RecommenderJob(config, task, mesh, name=name, quiet=quiet, begun=begun)
    with claim, open_checkpoints(workdir, config.train) as checkpoints:
        ended = run(job, checkpoints, workdir=workdir, messages=messages)
        state, best = best_of(job, checkpoints, ended)
    if ended.finished:
        ended.interruption.pass_on()
    candidates = job.blended(state) if ended.finished and config.model.kind == "scorer" else task.candidates
    # Cold items are not candidates in training, since training would lower their scores. They are candidates of the
    # trained ranker.
    everything = on_every_device(catalog_of(candidates, task.trie), mesh)
    return Trained(job.ranker(state, everything), candidates, best or 0, ended.finished, ended.seconds)


class _RecommenderJob(Job[TrainState]):
    """The job that the run loop (`sid_jax.training.run_loop`) executes to train a recommender."""

    def __init__(self, config: ConfigDict, task: Task, mesh: Mesh, *, name: str, quiet: bool, begun: TrainState | None):
        examples = training_examples(config, task)
        self._model = nnx.eval_shape(lambda: build_model(config, task.candidates))
        self._recipe = Recipe.of(config, len(jax.tree.leaves(examples)[0]), self._model)
        super().__init__(config, mesh, self._recipe.lengths)
        self.patience_steps = config.train.patience * self._recipe.lengths.eval_every_steps
        self._task, self._name, self.quiet, self._begun = task, name or config.model.kind, quiet, begun
        catalog = catalog_of(task.candidates, task.known)
        self._examples, self._catalog = on_every_device((examples, catalog), mesh)
        self._excludes_seen = validation_excludes_seen(config, task)
        self._asked, self._began = _validation_users(config, task), time.monotonic()

    def abstract_state(self) -> TrainState:
        shapes = jax.eval_shape(lambda: self._state_of(self._model))
        return abstract_on_every_device(shapes, self.mesh)

    def begin(self) -> TrainState:
        def make() -> TrainState:
            return self._state_of(build_model(self.config, self._task.candidates))

        if self._begun is None:
            return on_every_device(from_first(make, self.abstract_state()), self.mesh)
        averaged = self.config.train.average_epochs > 0
        average = jax.tree.map(jnp.zeros_like, self._begun.params) if averaged else None
        return on_every_device(dataclasses.replace(self._begun, average=average), self.mesh)

    def _state_of(self, model: nnx.Module) -> TrainState:
        return make_state(model, self._recipe.init_optimizer, averaged=self.config.train.average_epochs > 0)

    def opening(self) -> str:
        return opening(self.config, self._task)

    def take_steps(self, state: TrainState, step: int, num_steps: int) -> tuple[TrainState, dict[str, Any]]:
        return train_steps(self._recipe, state, self._examples, self._catalog, num_steps=num_steps, mesh=self.mesh)

    def row(self, metrics: dict[str, Any]) -> dict[str, Any]:
        return metrics_row(metrics)

    def evaluate(self, state: TrainState, step: int, row: dict[str, Any]) -> Evaluated[TrainState]:
        refuse_divergence(row["loss"], step)
        metrics = evaluate(
            self.ranker(state, self._catalog),
            self._task.split.validation,
            window=self.config.model.window,
            batch_size=self.config.eval.batch_size,
            exclude_seen=self._excludes_seen,
            users=self._asked,
        ).metrics
        # The weights of the blend are fitted after training, so they are not available here.
        unblended = " without the blend" if self.config.model.kind == "scorer" and self.config.model.blend else ""
        text = (
            f"validation{unblended}: recall@10 {metrics['recall@10']:.4f} ndcg@10 {metrics['ndcg@10']:.4f}  "
            f"after {time.monotonic() - self._began:.0f} s"
        )
        return Evaluated(state, metrics, text)

    def blended(self, state: TrainState) -> Candidates:
        """Returns the candidates with the config's blend, whose weights are fitted to the validation targets."""
        task, config = self._task, self.config
        blend = make_blend(task.split.train, task.candidates.content, config.model.blend)
        if not blend.names:
            return task.candidates
        candidates = dataclasses.replace(task.candidates, blend=blend)
        ranker = self.ranker(state, on_every_device(catalog_of(candidates, task.known), self.mesh))
        rules = {"window": config.model.window, "exclude_seen": self._excludes_seen}
        blend = fit_blend(blend, ranker, task.split.validation, **rules)
        return dataclasses.replace(candidates, blend=blend)

    def ranker(self, state: TrainState, catalog: Catalog) -> ModelRanker:
        """Returns a ranker of the state's model over a catalog."""
        return ModelRanker(
            self._name,
            self._recipe.graphdef,
            state.used,
            catalog,
            num_beams=self.config.eval.num_beams,
            mesh=self.mesh,
        )


def opening(config: ConfigDict, task: Task) -> str:
    """Returns the text that a run prints first: facts about its data, and how many targets cannot be recommended."""
    table, distinct = task.table, len(np.unique(task.table.semantic_ids, axis=0))
    lines = [
        f"{len(task.split.train):,} users, {len(table.item_ids):,} items with {distinct:,} Semantic IDs of "
        f"{table.semantic_ids.shape[1]} codes ({table.name})"
    ]
    train = task.split.train
    if train.num_tied:
        lines.append(
            f"{counted(train.num_tied, 'interaction has', 'interactions have')} the same user and time as another one; "
            "such interactions are ordered by item id"
        )
    excludes = {
        "validation": (task.split.validation, validation_excludes_seen(config, task)),
        "test": (task.split.test, config.eval.exclude_seen),
    }
    for name, (examples, excluded) in excludes.items():
        if excluded and examples.num_seen_targets:
            lines.append(
                f"{examples.num_seen_targets:,} of {len(examples.targets):,} {name} targets are seen items, which are "
                "excluded and so cannot be recommended"
            )
    if config.eval.exclude_seen and not validation_excludes_seen(config, task):
        lines.append("The validation allows seen items, because most of its targets are seen items")
    return "\n".join(lines)


def validation_excludes_seen(config: ConfigDict, task: Task) -> bool:
    """Returns whether validation excludes seen items: like the test, unless most validation targets are seen items."""
    return config.eval.exclude_seen and not task.split.validation.mostly_seen


def metrics_row(metrics: dict[str, Any]) -> dict[str, Any]:
    """Returns the metrics of some steps as numbers: means over the steps, and the learning rate of the last step."""
    return {
        "loss": float(np.mean(metrics["loss"])),
        "level_loss": np.mean(metrics["level_loss"], axis=0).tolist(),
        "gradient_norm": float(np.mean(metrics["gradient_norm"])),
        "learning_rate": float(metrics["learning_rate"][-1]),
        # Additional metrics of joint training.
        **{name: float(np.mean(values)) for name, values in metrics.items() if name not in _OF_EVERY_RUN},
    }


def free_to_change(config: ConfigDict) -> tuple[str, ...]:
    """Returns the settings that may change between two starts of a run."""
    made = config.ids == "rqvae" or config.ids in MADE_IDS
    return _FREE_TO_CHANGE if made else _FREE_TO_CHANGE + _FREE_WITH_GIVEN_IDS


def training_examples(config: ConfigDict, task: Task) -> PackedRows | PrefixExamples:
    """Returns the training examples: packed rows, or, for an encoder-decoder, one example per target."""
    train = task.split.train
    if config.model.kind == "encoder_decoder":
        return prefix_examples(train, config.model.window, user_numbers(train.user_ids))
    return pack_rows(train, config.model.window, config.train.row_length)


def _validation_users(config: ConfigDict, task: Task) -> np.ndarray | None:
    """Returns the row indices of the validation users, the same random sample for all ID tables; None for all users."""
    there, wanted = len(task.split.validation.targets), config.eval.validation_users
    if wanted == 0 or wanted >= there:
        return None
    return np.sort(stream_rng(0, "validation_users").choice(there, wanted, replace=False))
