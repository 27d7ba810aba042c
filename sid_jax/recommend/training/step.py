"""One optimizer step of a recommender as a pure function, and many steps as one compiled call."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from sid_jax.recommend.models.catalog import Catalog
from sid_jax.streams import stream_key
from sid_jax.training.recipe import BaseRecipe
from sid_jax.training.schedules import Lengths
from sid_jax.training.sharding import scan_steps

Metrics = dict[str, Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The training state, as saved in checkpoints; it holds no random state.

    Attributes:
      step: int32 scalar, number of completed optimizer steps.
      params: parameters of the model.
      opt_state: the optimizer's state.
      average: exponential moving average of the parameters; None if the run keeps none.
    """

    step: jax.Array
    params: nnx.State
    opt_state: optax.OptState
    average: nnx.State | None = None

    @property
    def used(self) -> nnx.State:
        """The parameters for validation and the final model: the average if there is one."""
        return self.params if self.average is None else self.average


class Recipe(BaseRecipe):
    """Settings and structures of a training run: the static argument of compiled functions, hashed by value."""

    @classmethod
    def of(cls, config: ConfigDict, num_examples: int, model: nnx.Module) -> Recipe:
        """Returns the recipe of a config and its model."""
        return cls.make(config, Lengths.of(config.train, num_examples), model)


def make_state(
    model: nnx.Module, init_optimizer: Callable[[nnx.State], optax.OptState], *, averaged: bool = False
) -> TrainState:
    """Returns the state at step 0, with an average of the parameters if `averaged` is True.

    `init_optimizer` returns the optimizer's state from the parameters, as `BaseRecipe.init_optimizer` does.
    """
    params = nnx.state(model, nnx.Param)
    # The zeros have no effect, since the first step replaces them by the new parameters.
    average = jax.tree.map(jnp.zeros_like, params) if averaged else None
    return TrainState(jnp.zeros((), jnp.int32), params, init_optimizer(params), average)


def train_step(recipe: Recipe, state: TrainState, batch: Any, catalog: Catalog) -> tuple[TrainState, Metrics]:
    """Takes one optimizer step on a batch of training examples, of the type that the model trains on.

    The loss is a sum over the model's outputs: L levels, or one output if the model scores items. The loss of an output
    is the mean cross-entropy over the batch's targets. For a model that generates IDs, the sum is the negative
    log-probability of an ID.
    """

    def loss_of(params: nnx.State) -> tuple[jax.Array, jax.Array]:
        model: Any = nnx.merge(recipe.graphdef, params)
        total, weight = model.loss(batch, catalog, stream_key(recipe.seed, "dropout", state.step))
        level_losses = total / jnp.maximum(weight, 1.0)
        return jnp.sum(level_losses), level_losses

    (loss, level_losses), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    updates, opt_state = recipe.optimizer.update(grads, state.opt_state, state.params)
    metrics = {
        "loss": loss,
        "level_loss": level_losses,
        "gradient_norm": optax.tree.norm(grads),
        "learning_rate": recipe.learning_rate(state.step),
    }
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, opt_state, _averaged(recipe, state, params)), metrics


def _averaged(recipe: Recipe, state: TrainState, params: nnx.State) -> nnx.State | None:
    """Returns the moving average after a step. Its time constant is `train.average_epochs`, or less at the start."""
    if state.average is None:
        return None
    span = max(1.0, recipe.settings.average_epochs * recipe.lengths.steps_per_epoch)
    rate = jnp.maximum(1.0 / span, 9.0 / (state.step + 9.0))
    return jax.tree.map(lambda mean, new: mean + rate * (new - mean), state.average, params)


@functools.partial(jax.jit, static_argnames=("recipe", "num_steps", "mesh"), donate_argnames=("state",))
def train_steps(
    recipe: Recipe, state: TrainState, examples: Any, catalog: Catalog, *, num_steps: int, mesh: Mesh
) -> tuple[TrainState, Metrics]:
    """Takes many steps in one compiled call, each on the next batch in the random order of the epoch.

    Args:
      recipe: static parts of the run.
      state: the state; donated.
      examples: a pytree whose leaves have a leading axis over the examples, on every device.
      catalog: the catalog of the examples' items, on every device.
      num_steps: number of steps.
      mesh: the devices; each batch is sharded over the axis "data".

    Returns:
      The state, and the metrics, each with a leading axis of `num_steps`.
    """
    return scan_steps(
        lambda state, chosen: train_step(recipe, state, jax.tree.map(lambda leaf: leaf[chosen], examples), catalog),
        state,
        seed=recipe.seed,
        num_examples=jax.tree.leaves(examples)[0].shape[0],
        batch_size=recipe.batch_size,
        num_steps=num_steps,
        mesh=mesh,
    )
