"""Joint training: its schedules, one step as a pure function, and many steps as one compiled call."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict, FrozenConfigDict

from sid_jax.errors import UserError
from sid_jax.joint_quantizer.optimizer import make_quantizer_optimizer
from sid_jax.joint_quantizer.schedules import Course
from sid_jax.recommend.data.packing import PackedRows
from sid_jax.recommend.joint.code_table import CodeTable, items_of
from sid_jax.recommend.joint.objective import joint_loss
from sid_jax.recommend.training.step import Metrics, Recipe, TrainState
from sid_jax.streams import stream_key
from sid_jax.training.schedules import Lengths, frozen
from sid_jax.training.sharding import scan_steps


def joint_lengths(config: ConfigDict, num_examples: int) -> Lengths:
    """Returns the lengths of a run with a joint phase. A compiled call is at most as long as each of the two phases."""
    num_steps = Lengths.of(config.train, num_examples).num_steps
    freeze_step = round(config.joint.share * num_steps)
    return Lengths.of(config.train, num_examples, max(1, min(freeze_step, num_steps - freeze_step)))


def joint_course(joint: ConfigDict, lengths: Lengths) -> Course:
    """Returns the schedules of `config.joint`. The length of the joint phase is rounded to whole compiled calls.

    Raises:
      UserError: if no step is left to train the recommender on the final IDs.
    """
    calls = max(1, round(joint.share * lengths.num_steps / lengths.log_every_steps))
    freeze_step = calls * lengths.log_every_steps
    if freeze_step >= lengths.num_steps:
        raise UserError(
            f"the joint phase, rounded to compiled calls of {lengths.log_every_steps} steps, takes all "
            f"{lengths.num_steps} steps of the run; lower config.joint.share or config.train.log_every_steps, or raise "
            "config.train.num_epochs"
        )
    return Course(
        freeze_step=freeze_step,
        warmup_steps=min(round(joint.warmup_epochs * lengths.steps_per_epoch), freeze_step - 1),
        settings=frozen(joint, "temperature", "min_temperature", "noise_scale"),
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class JointState:
    """The training state of the joint phase, as saved in checkpoints; it holds no random state.

    Attributes:
      recommender: state of the recommender, which includes the step.
      quantizer: parameters of encoder, codebooks and decoder.
      statistics: the quantizer's statistics, which contain the scaling of the vectors.
      opt_state: state of the quantizer's optimizer.
      codes: `[N, L]` int32, the items' codes in the ID table.
    """

    recommender: TrainState
    quantizer: nnx.State
    statistics: nnx.State
    opt_state: optax.OptState
    codes: jax.Array

    @property
    def step(self) -> jax.Array:
        """Number of completed steps, int32 scalar."""
        return self.recommender.step


@dataclasses.dataclass(frozen=True)
class JointRecipe:
    """Settings and structures of joint training: the static argument of compiled functions, hashed by value.

    Attributes:
      recommender: the recommender's recipe, the same as without joint training.
      quantizer: the structure of the RQ-VAE.
      rates: learning rates of the RQ-VAE's parameter groups: encoder, codebooks, decoder.
      course: schedules of the joint phase.
      estimator: "gumbel", "ste" or "soft".
      stop_gradient: parameter groups without a gradient from the recommender's loss.
      most_items: U, the maximum number of distinct items in a batch.
      anchor_weight, balance_weight, target_gradient: weights of the loss terms.
      codebook_weight, commitment_weight: weights of the quantizer's own loss terms.
    """

    recommender: Recipe
    quantizer: nnx.GraphDef[Any]
    rates: FrozenConfigDict
    course: Course
    estimator: str
    stop_gradient: tuple[str, ...]
    most_items: int
    anchor_weight: float
    balance_weight: float
    target_gradient: float
    codebook_weight: float
    commitment_weight: float

    @classmethod
    def of(
        cls,
        config: ConfigDict,
        recommender: Recipe,
        settings: ConfigDict,
        quantizer: nnx.GraphDef[Any],
        most_items: int,
    ) -> JointRecipe:
        """Returns the recipe for the recommender's config and `settings`, the config of the quantizer."""
        joint, course = config.joint, joint_course(config.joint, recommender.lengths)
        return cls(
            recommender=recommender,
            quantizer=quantizer,
            rates=frozen(joint, "encoder_rate", "codebook_rate", "decoder_rate"),
            course=course,
            estimator=joint.estimator,
            stop_gradient=tuple(joint.stop_gradient),
            most_items=most_items,
            anchor_weight=joint.anchor_weight,
            balance_weight=joint.balance_weight,
            target_gradient=joint.target_gradient,
            codebook_weight=settings.model.codebook_weight,
            commitment_weight=settings.model.commitment_weight,
        )

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """The optimizer of the RQ-VAE's parameters."""
        return make_quantizer_optimizer(self.rates, self.course)

    def choices(self, step: jax.Array) -> dict[str, Any]:
        """Returns the arguments of `residual_quantize` at a step."""
        return self.course.choices(self.estimator, self.recommender.seed, step)

    def dropout_key(self, step: jax.Array) -> jax.Array:
        """Returns the PRNG key of the recommender's dropout, the same as without joint training."""
        return stream_key(self.recommender.seed, "dropout", step)


def joint_step(
    recipe: JointRecipe, state: JointState, batch: PackedRows, vectors: jax.Array, table: CodeTable
) -> tuple[JointState, Metrics]:
    """Takes one step of both optimizers on a batch of rows, with the gradients of one joint loss."""
    items = items_of(batch, vectors, recipe.most_items)
    params = {"recommender": state.recommender.params, "quantizer": state.quantizer}
    (_, metrics), grads = jax.value_and_grad(
        lambda params: joint_loss(recipe, params, state.statistics, batch, items, table, state.step), has_aux=True
    )(params)
    of_recommender, recommender_opt = recipe.recommender.optimizer.update(
        grads["recommender"], state.recommender.opt_state, state.recommender.params
    )
    of_quantizer, quantizer_opt = recipe.optimizer.update(grads["quantizer"], state.opt_state, state.quantizer)
    metrics |= {
        "gradient_norm": optax.tree.norm(grads["recommender"]),
        "quantizer_gradient_norm": optax.tree.norm(grads["quantizer"]),
        "learning_rate": recipe.recommender.learning_rate(state.step),
        "temperature": recipe.course.temperature(state.step),
        "noise_scale": jnp.asarray(recipe.choices(state.step)["noise_scale"]),
    }
    recommender = TrainState(
        state.step + 1, optax.apply_updates(state.recommender.params, of_recommender), recommender_opt
    )
    return dataclasses.replace(
        state,
        recommender=recommender,
        quantizer=optax.apply_updates(state.quantizer, of_quantizer),
        opt_state=quantizer_opt,
    ), metrics


@functools.partial(jax.jit, static_argnames=("recipe", "num_steps", "mesh"), donate_argnames=("state",))
def joint_steps(
    recipe: JointRecipe,
    state: JointState,
    examples: PackedRows,
    vectors: jax.Array,
    table: CodeTable,
    *,
    num_steps: int,
    mesh: Mesh,
) -> tuple[JointState, Metrics]:
    """Takes many steps in one compiled call, as `sid_jax.recommend.training.step.train_steps` does.

    A new ID table does not need another compilation.

    Args:
      recipe: static parts of the run.
      state: the state; donated.
      examples: packed rows, on every device.
      vectors: `[N, D]`, the vectors of all items, on every device.
      table: the current IDs, on every device.
      num_steps: number of steps.
      mesh: the devices; each batch is sharded over the axis "data".
    """
    return scan_steps(
        lambda state, chosen: joint_step(
            recipe, state, jax.tree.map(lambda leaf: leaf[chosen], examples), vectors, table
        ),
        state,
        seed=recipe.recommender.seed,
        num_examples=jax.tree.leaves(examples)[0].shape[0],
        batch_size=recipe.recommender.batch_size,
        num_steps=num_steps,
        mesh=mesh,
    )
