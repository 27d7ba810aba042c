"""Restores a trained run or its model from a workdir."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from sid_jax.config import check_config, default_config
from sid_jax.data.layout import Layout
from sid_jax.data.load import load_corpus
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError
from sid_jax.models.rqvae import RQVAE
from sid_jax.training.checkpoints import CHECKPOINTS_FOLDER, Checkpoints
from sid_jax.training.corpus import durations_of
from sid_jax.training.recipe import Recipe
from sid_jax.training.sharding import all_devices
from sid_jax.training.state import TrainState, abstract_model, abstract_state
from sid_jax.training.workdir import read_data_shape, read_layout, read_run


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run at one of its checkpoints.

    Attributes:
      config: the resolved settings of the run.
      data: the catalog of the run, with its cold items.
      recipe: the hyperparameters of the run and the structure of its model.
      state: the state at `step`.
      step: the step of the checkpoint.
      records: the rows of metrics of a run without a workdir; empty for a run whose metrics are in its workdir.
    """

    config: ConfigDict
    data: VectorSet
    recipe: Recipe
    state: TrainState
    step: int
    records: tuple[dict[str, Any], ...] = ()

    @property
    def model(self) -> RQVAE:
        """The model with the state's parameters."""
        return self.recipe.model(self.state)

    def renumbered(self, orders: Sequence[np.ndarray]) -> TrainedRun:
        """Returns the run with renumbered codes, for export only; see `ResidualQuantizer.renumber`."""
        model = self.model
        model.quantizer.renumber(orders)
        params, statistics = nnx.state(model, nnx.Param, ...)
        return dataclasses.replace(self, state=dataclasses.replace(self.state, params=params, statistics=statistics))


def restore_run(workdir: Path, step: int | None = None) -> TrainedRun:
    """Restores a run on all available devices. Training may have used another number of devices.

    Args:
      workdir: the run's folder.
      step: the step of the checkpoint; None takes the best checkpoint of a finished run.

    Raises:
      UserError: if there is no run or no such checkpoint, if the run is not finished and no step is given, or if the
        data has changed since training.
    """
    config, fingerprint = read_run(workdir, default_config())
    check_config(config)
    data = load_corpus(config)
    if data.fingerprint() != fingerprint:
        raise UserError(
            f"{data.source} is not the data of the run in {workdir}: vectors, ids or histories have changed; "
            "restore the old files, or train in a new --workdir"
        )
    recipe, state, step = _restore(workdir, config, step, (data.num_trained, data.vectors.shape[1]), data.layout)
    return TrainedRun(config, data, recipe, state, step)


def restore_model(workdir: Path, step: int | None = None) -> tuple[ConfigDict, RQVAE, int]:
    """Returns a run's config, the model of one of its checkpoints, and the checkpoint's step, without the run's data.

    Raises:
      UserError: as for `restore_run`, except that the data is not checked.
    """
    config, _ = read_run(workdir, default_config())
    check_config(config)
    recipe, state, step = _restore(workdir, config, step, read_data_shape(workdir), read_layout(workdir))
    return config, recipe.model(state), step


def _restore(
    workdir: Path, config: ConfigDict, step: int | None, shape: tuple[int, int], layout: Layout | None
) -> tuple[Recipe, TrainState, int]:
    durations, num_features = durations_of(config.train, shape), shape[1]
    recipe = Recipe.of(config, durations, abstract_model(config, num_features, layout))
    folder = workdir / CHECKPOINTS_FOLDER
    if not folder.is_dir():
        raise UserError(f"{workdir} has no checkpoint yet; run its train command again")
    with Checkpoints(folder, config.train, read_only=True) as checkpoints:
        step = _choose_step(workdir, checkpoints, step, durations.num_steps)
        like = abstract_state(config, recipe.optimizer, num_features, all_devices(), layout)
        return recipe, checkpoints.restore(step, like), step


def _choose_step(workdir: Path, checkpoints: Checkpoints, step: int | None, num_steps: int) -> int:
    there = ", ".join(map(str, checkpoints.steps)) or "none"
    if step is not None and checkpoints.steps:
        if step not in checkpoints.steps:
            raise UserError(
                f"{workdir} has no checkpoint of step {step}; set --step to one of its checkpoints: {there}"
            )
        return step
    latest, best = checkpoints.latest_step, checkpoints.best_step
    if latest is None or latest < num_steps or best is None:
        raise UserError(
            f"the run in {workdir} is not finished (step {latest or 0} of {num_steps}); run its train command again, "
            f"or choose a checkpoint with --step (checkpoints: {there})"
        )
    return best
