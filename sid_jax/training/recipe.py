"""Static parts of a training run (hyperparameters, schedules, optimizer, model structure) and its forward passes."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Self

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict, FrozenConfigDict

from sid_jax.data.layout import Layout
from sid_jax.data.scaling import normalize
from sid_jax.models.rqvae import RQVAE, RQVAEOutput
from sid_jax.quantize.residual import QuantizerOutput
from sid_jax.streams import stream_key
from sid_jax.training.augmentation import displaced
from sid_jax.training.optimizer import make_optimizer
from sid_jax.training.schedules import (
    Durations,
    Lengths,
    Schedule,
    frozen,
    learning_rate_schedule,
    noise_schedule,
    temperature_schedule,
)
from sid_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class BaseRecipe:
    """Static parts of any training run: hyperparameters and the model's structure.

    A recipe is a static argument of compiled functions and is hashed by value. Schedules and optimizer are built from
    it during tracing.
    """

    graphdef: nnx.GraphDef[Any]
    seed: int
    lengths: Lengths
    batch_size: int
    settings: FrozenConfigDict

    @classmethod
    def make(cls, config: ConfigDict, lengths: Lengths, model: nnx.Module, **more: Any) -> Self:
        """Returns the recipe of a config and its model; `more` has the additional fields of a subclass."""
        return cls(nnx.graphdef(model), config.seed, lengths, config.train.batch_size, frozen(config.train), **more)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """The optimizer of the parameters."""
        return make_optimizer(self.settings, self.learning_rate)

    def init_optimizer(self, params: nnx.State) -> optax.OptState:
        """Returns the optimizer's state at step 0."""
        return init_optimizer(self, params)

    @property
    def learning_rate(self) -> Schedule:
        """The learning rate as a function of the step."""
        return learning_rate_schedule(self.settings, self.lengths)


@functools.partial(jax.jit, static_argnames="recipe")
def init_optimizer(recipe: Any, params: nnx.State) -> optax.OptState:
    """Returns the state of `recipe.optimizer` at step 0, from one program instead of one per shape of a parameter."""
    return recipe.optimizer.init(params)


@dataclasses.dataclass(frozen=True)
class Recipe(BaseRecipe):
    """Static parts of the quantizer's training run."""

    lengths: Durations
    model_settings: FrozenConfigDict
    unit_norm: bool
    mixed: bool
    layout: Layout | None = None

    @classmethod
    def of(cls, config: ConfigDict, lengths: Durations, model: RQVAE) -> Recipe:
        """Returns the recipe of a config and its model."""
        mixed = config.train.precision == "bfloat16"
        return cls.make(
            config,
            lengths,
            model,
            model_settings=frozen(config.model),
            unit_norm=config.data.unit_norm,
            mixed=mixed,
            layout=model.layout,
        )

    @property
    def temperature(self) -> Schedule:
        """The temperature of the soft assignments as a function of the step."""
        return temperature_schedule(self.model_settings, self.settings, self.lengths)

    @property
    def noise_scale(self) -> Schedule:
        """The scale of the quantizer's noise, as a function of the step."""
        return noise_schedule(self.model_settings, self.temperature)

    @property
    def codeword_rate(self) -> Schedule:
        """1 minus the decay of the moving averages (method "ema"), as a function of the step."""
        return learning_rate_schedule(self.settings, self.lengths, 1 - self.model_settings.ema_decay)

    def forward(self, params: nnx.State, statistics: nnx.State, batch: jax.Array, step: jax.Array) -> RQVAEOutput:
        """Runs the training forward pass of a step, with that step's temperature, noise and dropout."""
        return self.merged(params, statistics)(
            batch,
            key=stream_key(self.seed, "forward", step),
            decoder_gradient=jnp.where(self.settling(step), 0.0, 1.0),
            mixed=self.mixed,
            part_dropout=jnp.where(self.settling(step), 0.0, self.settings.part_dropout),
            frozen_encoder=self.settling(step),
            **self._choices(step),
        )

    def quantize(self, params: nnx.State, statistics: nnx.State, batch: jax.Array, step: jax.Array) -> QuantizerOutput:
        """Runs encoder and quantizer on a batch of partners (co-occurring items).

        The PRNG keys differ from those of `forward`.
        """
        model = self.merged(params, statistics)
        encoder_key, noise_key = jax.random.split(stream_key(self.seed, "partner_forward", step))
        latents = model.encoder(model.inputs(batch), encoder_key, mixed=self.mixed)
        return model.quantizer(latents, key=noise_key, **self._choices(step))

    def _choices(self, step: jax.Array) -> dict[str, Any]:
        return {
            "temperature": self.temperature(step),
            "noise_scale": self.noise_scale(step),
            "hard": self.model_settings.gumbel_hard,
        }

    def augment(self, batch: jax.Array, step: jax.Array) -> jax.Array:
        """Returns the batch of a step, augmented by `displaced` except in the last part of a run (see `settling`)."""
        augmentation = self.settings.augmentation
        if not augmentation:
            return batch
        share = jnp.where(self.settling(step), 0.0, augmentation)
        return displaced(normalize(batch, self.unit_norm, self.layout), share)

    def at(self, step: int) -> Recipe:
        """Returns the recipe for a compiled call whose first step is `step`.

        In the last part of a run (see `settling`), the recipe does not use bfloat16, since training codes must equal
        exported codes there.
        """
        settled = self.mixed and step >= self.lengths.settle_from_step
        return dataclasses.replace(self, mixed=False) if settled else self

    def merged(self, params: nnx.State, statistics: nnx.State) -> RQVAE:
        """Returns the model with these parameters and statistics."""
        return nnx.merge(self.graphdef, params, statistics)

    def model(self, state: TrainState) -> RQVAE:
        """Returns the model with the state's parameters."""
        return self.merged(state.params, state.statistics)

    def settling(self, step: jax.Array) -> jax.Array:
        """Returns whether a step is in the last part of the run, in which the encoder is frozen and codes settle.

        The cell of a code is the region of the vectors to which the code is assigned. Gradients can push a latent
        vector back and forth between two cells. The vector then converges to the boundary of the cells, where rounding
        decides its code. The gradients from the decoder to the codewords have the same effect. In the last part, the
        encoder is therefore frozen, the decoder sends no gradient to the codebooks, and each codeword moves to the mean
        of the residuals assigned to it. The codes then no longer change back and forth.
        """
        return step >= self.lengths.settle_from_step
