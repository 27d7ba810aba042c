"""A joint run: a trained tokenizer learns on inside the recommender, is frozen and exported, and the recommender ends.

The joint part has a folder of its own, `joint`; its end is an export, `ids-joint`. From there on it is the ordinary
training on IDs that stay (`sid_jax.recommend.training.loop`), begun with the recommender as it then is.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict
from rich.console import Console

from sid_jax.export.artifact import make_export, write_export
from sid_jax.export.encoder import encode_vectors
from sid_jax.export.id_tables import read_id_table
from sid_jax.export.run import written
from sid_jax.export.weights import model_hash
from sid_jax.ids.table import IdTable
from sid_jax.metrics.codes import usage
from sid_jax.models.rqvae import RQVAE
from sid_jax.recommend.config import default_config
from sid_jax.recommend.data.packing import pack_rows
from sid_jax.recommend.data.task import Task, load_split, make_task
from sid_jax.recommend.joint.code_table import CodeTable, build_code_table
from sid_jax.recommend.joint.items import most_items
from sid_jax.recommend.joint.refresh import Refreshed
from sid_jax.recommend.joint.revival import revive_unused
from sid_jax.recommend.joint.step import JointRecipe, JointState, joint_steps
from sid_jax.recommend.joint.tokenizer import load_tokenizer, parts, with_model
from sid_jax.recommend.models.build import build_model
from sid_jax.recommend.training.loop import Trained, free_to_change, refuse_divergence, train_recommender
from sid_jax.recommend.training.reporter import Reporter
from sid_jax.recommend.training.step import Recipe, make_state
from sid_jax.streams import stream_key
from sid_jax.training.checkpoints import CHECKPOINTS_FOLDER, Checkpoints
from sid_jax.training.interruption import Interruption
from sid_jax.training.restore import TrainedRun
from sid_jax.training.sharding import all_devices, on_every_device, refuse_uneven_batches
from sid_jax.training.workdir import claim_workdir

JOINT_FOLDER = "joint"
IDS_FOLDER = "ids-joint"


def train_jointly(
    config: ConfigDict, workdir: Path, *, console: Console, name: str = "", quiet: bool = False
) -> tuple[Task, Trained] | None:
    """Trains until the config's last epoch, from the start or from where the workdir's last checkpoint stands.

    Killed at any moment and started again, a run ends bit for bit where it would have ended.

    Args:
      config: as from `sid_jax.recommend.config`, with `joint.estimator` other than "none".
      workdir: for the tokenizer if it is trained on the way, the joint part, its export, and the recommender.
      console: where to print.
      name: of the recommender in tables; the model's kind if empty.
      quiet: prints no line for each validation.

    Returns:
      The catalog with its final IDs, and the recommender; nothing if the joint part was stopped.

    Raises:
      UserError: for data or a workdir that cannot be used, a run that diverges, or codes that collapse.
    """
    run = _JointRun(config, workdir, load_tokenizer(config, workdir, console), console, quiet)
    state = run.train()
    if state is None:
        return None
    run.export(state)
    task = make_task(read_id_table(workdir / IDS_FOLDER), run.split, run.sizes)
    folder = workdir / config.model.kind
    return task, train_recommender(
        config, task, folder, console=console, name=name, quiet=quiet, begun=state.recommender
    )


class _JointRun:
    """The joint part of a run, with what it is made of."""

    def __init__(self, config: ConfigDict, workdir: Path, tokenizer: TrainedRun, console: Console, quiet: bool):
        self._config, self._workdir, self._console, self._quiet = config, workdir, console, quiet
        self._tokenizer, self._mesh = tokenizer, all_devices()
        refuse_uneven_batches(config.train.batch_size, self._mesh)
        self.sizes = tokenizer.model.quantizer.codebook_sizes
        self.split = load_split(config, tokenizer.data.ids)
        self._examples = pack_rows(self.split.train, config.model.window, config.train.row_length)
        self._task = self._task_of(encode_vectors(tokenizer.model, tokenizer.data.vectors))
        model = nnx.eval_shape(lambda: build_model(config, self._task.trie))
        self._recipe = JointRecipe.of(
            config,
            Recipe.of(config, len(self._examples.inputs), model),
            tokenizer.config,
            parts(tokenizer.model)[0],
            most_items(self._examples, config.train.batch_size),
        )

    def train(self) -> JointState | None:
        """Returns the state where the quantizer is frozen; nothing if it was stopped before."""
        config, folder, end = self._config, self._workdir / JOINT_FOLDER, self._recipe.course.freeze_step
        claim_workdir(folder, config, default_config(), self._fingerprint(), free_to_change=free_to_change(config))
        examples, vectors = on_every_device((self._examples, self._tokenizer.data.vectors), self._mesh)
        with Checkpoints(folder / CHECKPOINTS_FOLDER, config.train) as checkpoints:
            state = self._restored(checkpoints)
            step = int(state.step)
            if step >= end:
                return state
            recipe, table = self._recipe.recommender, self._table(state)
            with (
                Reporter(self._console, folder, self._task, recipe, step, quiet=self._quiet) as reporter,
                Interruption() as interruption,
            ):
                while step < end and not interruption.asked:
                    num_steps = min(recipe.lengths.log_every_steps, end - step)
                    state, metrics = joint_steps(
                        self._recipe, state, examples, vectors, table, num_steps=num_steps, mesh=self._mesh
                    )
                    step += num_steps
                    reporter.trained(step, metrics)
                    if step % config.joint.refresh_every_steps == 0 or step == end:
                        refuse_divergence(metrics, step)
                        state, refreshed = self._refresh(state, vectors)
                        table = self._table(state)
                        reporter.refreshed(step, refreshed.record(), refreshed.line())
                        refreshed.refuse_collapse(config.joint.min_usage, step)
                    if step % recipe.lengths.eval_every_steps == 0 or step == end:
                        checkpoints.save(step, state, None)
                if step < end:
                    if step != checkpoints.latest_step:
                        checkpoints.save(step, state, None)
                    reporter.interrupted(step)
            checkpoints.wait()
        if step < end:
            return None
        interruption.pass_on()
        return state

    def export(self, state: JointState) -> None:
        """Writes the frozen quantizer and its unique IDs, as any export, unless that was done before."""
        out, tokenizer = self._workdir / IDS_FOLDER, self._tokenizer
        if out.exists():
            return
        run = with_model(tokenizer.config, tokenizer.data, self._quantizer(state))
        about = {"joint": {"steps": int(state.step), **self._config.joint.to_dict()}}
        made = make_export(run, about=about)
        write_export(made, out, records=self._workdir / JOINT_FOLDER)
        self._console.print(written(made, out), markup=False, highlight=False, soft_wrap=True)

    def _restored(self, checkpoints: Checkpoints) -> JointState:
        start = on_every_device(self._start(), self._mesh)
        if checkpoints.latest_step is None:
            return start
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), start)
        return checkpoints.restore(checkpoints.latest_step, like)

    def _start(self) -> JointState:
        _, quantizer, statistics = parts(self._tokenizer.model)
        return JointState(
            recommender=make_state(build_model(self._config, self._task.trie), self._recipe.recommender.optimizer),
            quantizer=quantizer,
            statistics=statistics,
            opt_state=self._recipe.optimizer.init(quantizer),
            codes=jnp.asarray(self._task.table.semantic_ids),
        )

    def _refresh(self, state: JointState, vectors: jax.Array) -> tuple[JointState, Refreshed]:
        """Returns the state with the codes that its quantizer gives; codes that went out of use begin anew."""
        before, codes = np.asarray(state.codes), self._codes(state)
        settling = self._recipe.course.noiseless(int(state.step)) or not self._config.joint.codebook_rate
        if settling or min(usage(codes, self.sizes)) == 1:
            return self._with_codes(state, codes), Refreshed.between(before, codes, self.sizes)
        params, opt_state = revive_unused(
            self._recipe,
            state.quantizer,
            state.statistics,
            state.opt_state,
            vectors,
            jnp.asarray(codes),
            stream_key(self._config.seed, "joint_revival", int(state.step)),
        )
        state = dataclasses.replace(state, quantizer=params, opt_state=opt_state)
        codes = self._codes(state)
        return self._with_codes(state, codes), Refreshed.between(before, codes, self.sizes)

    def _codes(self, state: JointState) -> np.ndarray:
        return encode_vectors(self._quantizer(state), self._tokenizer.data.vectors)

    def _with_codes(self, state: JointState, codes: np.ndarray) -> JointState:
        return dataclasses.replace(state, codes=on_every_device(codes, self._mesh))

    def _table(self, state: JointState) -> CodeTable:
        return on_every_device(build_code_table(np.asarray(state.codes), self.sizes), self._mesh)

    def _quantizer(self, state: JointState) -> RQVAE:
        return nnx.merge(self._recipe.quantizer, state.quantizer, state.statistics)

    def _task_of(self, codes: np.ndarray) -> Task:
        data = self._tokenizer.data
        columns = {name: data.columns[name] for name in ("title",) if name in data.columns}
        return make_task(IdTable(data.ids, codes, columns=columns, name="joint", shared=True), self.split, self.sizes)

    def _fingerprint(self) -> str:
        """Returns the SHA-256 of tokenizer, vectors and histories."""
        parts_of_it = [model_hash(self._tokenizer.model), self._tokenizer.data.fingerprint(), self._task.fingerprint()]
        return hashlib.sha256("".join(parts_of_it).encode()).hexdigest()
