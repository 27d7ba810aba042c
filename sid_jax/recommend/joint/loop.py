"""Joint training: a trained quantizer is trained further with the recommender, then frozen and exported.

The joint phase has its own folder, `joint`, and ends with an export, `ids-joint`. Then the recommender is trained on
the final IDs as usual (`sid_jax.recommend.training.loop`), starting from its state at the end of the joint phase.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from ml_collections import ConfigDict
from rich.console import Console

from sid_jax.export.artifact import write_export
from sid_jax.export.encoder import encode_vectors
from sid_jax.export.id_tables import read_id_table
from sid_jax.export.run import make_export, show_export
from sid_jax.export.weights import model_hash
from sid_jax.ids.table import IdTable
from sid_jax.joint_quantizer.changes import IdChanges
from sid_jax.joint_quantizer.revival import revive_dead_codes
from sid_jax.joint_quantizer.trained import parts, with_model
from sid_jax.messages import Messages
from sid_jax.metrics.codes import usage
from sid_jax.models.rqvae import RQVAE
from sid_jax.paths import as_path
from sid_jax.recommend.config import default_config
from sid_jax.recommend.data.packing import pack_rows
from sid_jax.recommend.data.quantizer import train_ids
from sid_jax.recommend.data.task import Task, load_split, make_task
from sid_jax.recommend.joint.code_table import CodeTable, build_code_table, most_items
from sid_jax.recommend.joint.step import JointRecipe, JointState, joint_lengths, joint_steps
from sid_jax.recommend.joint.tokenizer import load_tokenizer
from sid_jax.recommend.models import build_model
from sid_jax.recommend.training.loop import (
    Trained,
    free_to_change,
    metrics_row,
    opening,
    train_recommender,
)
from sid_jax.recommend.training.step import Recipe, make_state
from sid_jax.streams import stream_key
from sid_jax.training.checkpoints import CHECKPOINTS_FOLDER, Checkpoints
from sid_jax.training.optimizer import reset_moments
from sid_jax.training.processes import agreed, from_first, refuse_several
from sid_jax.training.recipe import init_optimizer
from sid_jax.training.restore import TrainedRun
from sid_jax.training.run_loop import Evaluated, Job, refuse_divergence, run
from sid_jax.training.sharding import abstract_on_every_device, all_devices, on_every_device, refuse_uneven_batches
from sid_jax.training.workdir import claimed_workdir

JOINT_FOLDER = "joint"
IDS_FOLDER = "ids-joint"


def train_jointly(
    config: ConfigDict, workdir: Path, *, console: Console, name: str = "", quiet: bool = False
) -> tuple[Task, Trained] | None:
    """Trains quantizer and recommender jointly, from the start or from the workdir's last checkpoint.

    A run that is killed and resumed gives the same result as an uninterrupted run, bit for bit.

    Args:
      config: from `sid_jax.recommend.config`, with `joint.estimator` other than "none".
      workdir: folder for the joint phase, its export, the recommender, and the quantizer if this run trains it.
      console: where to print.
      name: name of the recommender in tables; the model's kind if empty.
      quiet: whether to omit the lines that are printed at the start and at each evaluation.

    Returns:
      The task with its final IDs, and the recommender; None if the joint phase was interrupted.

    Raises:
      UserError: if the data or the workdir cannot be used, training diverges, or codes collapse.
    """
    with agreed():
        refuse_several("Joint training")
    messages = Messages.to_console(console)
    ids = train_ids(config, workdir, console) if config.ids == "rqvae" else as_path(config.ids)
    job = _JointJob(config, load_tokenizer(config, ids), quiet)
    state = _train(job, workdir / JOINT_FOLDER, messages)
    if state is None:
        return None
    if not (workdir / IDS_FOLDER).exists():
        about = {"joint": {"steps": int(state.step), **config.joint.to_dict()}}
        made = make_export(job.frozen(state), about=about)
        write_export(made, workdir / IDS_FOLDER, records=workdir / JOINT_FOLDER)
        show_export(messages, made, workdir / IDS_FOLDER)
    task = make_task(read_id_table(workdir / IDS_FOLDER), job.split, job.sizes)
    folder = workdir / config.model.kind
    return task, train_recommender(
        config, task, folder, messages=messages, name=name, quiet=quiet, begun=state.recommender
    )


def _train(job: _JointJob, folder: Path, messages: Messages) -> JointState | None:
    """Runs the joint phase; returns its final state, or None if it was interrupted."""
    config = job.config
    claim = claimed_workdir(folder, config, default_config(), job.fingerprint(), free_to_change=free_to_change(config))
    with claim, Checkpoints(folder / CHECKPOINTS_FOLDER, config.train) as checkpoints:
        ended = run(job, checkpoints, workdir=folder, messages=messages)
    if not ended.finished:
        return None
    ended.interruption.pass_on()
    return ended.state


class _JointJob(Job[JointState]):
    """The job that the run loop executes in the joint phase. Each evaluation refreshes the ID table."""

    kind = "ids"

    def __init__(self, config: ConfigDict, tokenizer: TrainedRun, quiet: bool):
        mesh = all_devices()
        refuse_uneven_batches(config.train.batch_size, mesh)
        self._tokenizer, self.quiet = tokenizer, quiet
        self.sizes = tokenizer.model.quantizer.codebook_sizes
        self.split = load_split(config, tokenizer.data.ids)
        examples = pack_rows(self.split.train, config.model.window, config.train.row_length)
        self._task = self._task_of(encode_vectors(tokenizer.model, tokenizer.data.vectors))
        model = nnx.eval_shape(lambda: build_model(config, self._task.candidates))
        self._recipe = JointRecipe.of(
            config,
            Recipe.make(config, joint_lengths(config, len(examples.inputs)), model),
            tokenizer.config,
            parts(tokenizer.model)[0],
            most_items(examples, config.train.batch_size),
        )
        lengths = self._recipe.recommender.lengths
        super().__init__(config, mesh, dataclasses.replace(lengths, num_steps=self._recipe.course.freeze_step))
        self._examples, self._vectors = on_every_device((examples, tokenizer.data.vectors), mesh)
        self._table: CodeTable | None = None

    def evaluates(self, step: int) -> bool:
        return step == self.lengths.num_steps or step % self.config.joint.refresh_every_steps == 0

    def abstract_state(self) -> JointState:
        return abstract_on_every_device(jax.eval_shape(self._start), self.mesh)

    def begin(self) -> JointState:
        return on_every_device(from_first(self._start, self.abstract_state()), self.mesh)

    def opening(self) -> str:
        return opening(self.config, self._task)

    def take_steps(self, state: JointState, step: int, num_steps: int) -> tuple[JointState, dict[str, Any]]:
        # The table is built once after each evaluation, since the state's codes change only in an evaluation.
        self._table = self._table or on_every_device(build_code_table(np.asarray(state.codes), self.sizes), self.mesh)
        return joint_steps(
            self._recipe, state, self._examples, self._vectors, self._table, num_steps=num_steps, mesh=self.mesh
        )

    def row(self, metrics: dict[str, Any]) -> dict[str, Any]:
        return metrics_row(metrics)

    def evaluate(self, state: JointState, step: int, row: dict[str, Any]) -> Evaluated[JointState]:
        refuse_divergence(row["loss"], step)
        state, refreshed = self._refresh(state)
        self._table = None
        return Evaluated(
            state, refreshed.record(), refreshed.line(), collapse(refreshed, self.config.joint.min_usage, step)
        )

    def frozen(self, state: JointState) -> TrainedRun:
        """Returns the trained quantizer as a `TrainedRun`, for the export."""
        return with_model(self._tokenizer.config, self._tokenizer.data, self._quantizer(state))

    def fingerprint(self) -> str:
        """Returns the SHA-256 of the quantizer, the vectors and the histories."""
        parts_of_it = [model_hash(self._tokenizer.model), self._tokenizer.data.fingerprint(), self._task.fingerprint()]
        return hashlib.sha256("".join(parts_of_it).encode()).hexdigest()

    def _start(self) -> JointState:
        _, quantizer, statistics = parts(self._tokenizer.model)
        return JointState(
            recommender=make_state(
                build_model(self.config, self._task.candidates), self._recipe.recommender.init_optimizer
            ),
            quantizer=quantizer,
            statistics=statistics,
            opt_state=init_optimizer(self._recipe, quantizer),
            codes=jnp.asarray(self._task.table.semantic_ids),
        )

    def _refresh(self, state: JointState) -> tuple[JointState, IdChanges]:
        """Returns the state with the codes of its current quantizer, and the changes of the codes.

        If there are dead codes, they are reset first, unless the joint phase is in its last fifth or the codebooks are
        not trained.
        """
        before, codes = np.asarray(state.codes), self._codes(state)
        settling = self._recipe.course.noiseless(int(state.step)) or not self.config.joint.codebook_rate
        if settling or min(usage(codes, self.sizes)) == 1:
            return self._with_codes(state, codes), IdChanges.between(before, codes, self.sizes)
        params, opt_state = revive_unused(
            self._recipe,
            state.quantizer,
            state.statistics,
            state.opt_state,
            self._vectors,
            jnp.asarray(codes),
            stream_key(self.config.seed, "joint_revival", int(state.step)),
        )
        state = dataclasses.replace(state, quantizer=params, opt_state=opt_state)
        codes = self._codes(state)
        return self._with_codes(state, codes), IdChanges.between(before, codes, self.sizes)

    def _codes(self, state: JointState) -> np.ndarray:
        return encode_vectors(self._quantizer(state), self._tokenizer.data.vectors)

    def _with_codes(self, state: JointState, codes: np.ndarray) -> JointState:
        return dataclasses.replace(state, codes=on_every_device(codes, self.mesh))

    def _quantizer(self, state: JointState) -> RQVAE:
        return nnx.merge(self._recipe.quantizer, state.quantizer, state.statistics)

    def _task_of(self, codes: np.ndarray) -> Task:
        data = self._tokenizer.data
        columns = {name: data.columns[name] for name in ("title",) if name in data.columns}
        return make_task(IdTable(data.ids, codes, columns=columns, name="joint", shared=True), self.split, self.sizes)


def collapse(changes: IdChanges, least: float, step: int) -> str:
    """Returns an error message if the usage of a level is below `least`, otherwise an empty string."""
    for level, share in enumerate(changes.usage, start=1):
        if share < least:
            return (
                f"codes have collapsed: {share:.0%} of the codes of level {level} are in use at step {step}, less "
                f"than config.joint.min_usage={least}; raise config.joint.anchor_weight or "
                "config.joint.balance_weight, or lower config.joint.encoder_rate and config.joint.codebook_rate, and "
                "use a new --workdir"
            )
    return ""


@functools.partial(jax.jit, static_argnames="recipe")
def revive_unused(
    recipe: JointRecipe,
    params: nnx.State,
    statistics: nnx.State,
    opt_state: optax.OptState,
    vectors: jax.Array,
    codes: jax.Array,
    key: jax.Array,
) -> tuple[nnx.State, optax.OptState]:
    """Sets the codewords of dead codes to residuals with large errors, and their optimizer moments to 0.

    It works like `sid_jax.training.optimizer.revive_unused`, except that a code is dead here if no item of the catalog
    has it.

    Args:
      recipe: provides `quantizer` and `optimizer`.
      params, statistics: parameters and statistics of the RQ-VAE.
      opt_state: state of the RQ-VAE's optimizer.
      vectors: `[N, D]`, the vectors of all items.
      codes: `[N, L]` int32, the codes of all items.
      key: PRNG key of the draw of residuals.
    """
    model: RQVAE = nnx.merge(recipe.quantizer, params, statistics)
    forget: Any = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[:1] + (1,) * (leaf.ndim - 1), bool), params)
    for level, moved in enumerate(revive_dead_codes(model, vectors, codes, key)):
        forget["quantizer"]["levels"][level][...] = moved[:, None]
    params = nnx.state(model, nnx.Param)
    return params, reset_moments(recipe.optimizer, opt_state, params, forget)
