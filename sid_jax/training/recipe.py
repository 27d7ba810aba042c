"""All of a run that stays the same from step to step: schedules, optimizer, weights, and the passes that they make."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict

from sid_jax.data.scaling import apply_scaling, normalize
from sid_jax.models.rqvae import RQVAE, RQVAEOutput
from sid_jax.quantize.residual import QuantizerOutput
from sid_jax.streams import stream_key
from sid_jax.training.augmentation import displaced
from sid_jax.training.optimizer import make_optimizer
from sid_jax.training.schedules import (
    Durations,
    Schedule,
    learning_rate_schedule,
    noise_schedule,
    rate_schedule,
    temperature_schedule,
)
from sid_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A static argument of the compiled functions."""

    graphdef: nnx.GraphDef[Any]
    optimizer: optax.GradientTransformation
    seed: int
    durations: Durations
    temperature: Schedule
    noise_scale: Schedule
    learning_rate: Schedule
    method: str
    hard: bool
    codeword_rate: Schedule
    noise_offset: float
    codebook_weight: float
    commitment_weight: float
    contrastive_weight: float
    alignment_weight: float
    contrastive_temperature: float
    batch_size: int
    unit_norm: bool
    mixed: bool
    augmentation: float

    @classmethod
    def of(cls, config: ConfigDict, durations: Durations, model: RQVAE) -> Recipe:
        """Builds schedules and optimizer from the config, for a model of its shape."""
        temperature = temperature_schedule(config.model, config.train, durations)
        learning_rate = learning_rate_schedule(config.train, durations)
        return cls(
            graphdef=nnx.graphdef(model),
            optimizer=make_optimizer(config.train, learning_rate),
            seed=config.seed,
            durations=durations,
            temperature=temperature,
            noise_scale=noise_schedule(config.model, temperature, durations),
            learning_rate=learning_rate,
            method=config.model.quantization_method,
            hard=config.model.gumbel_hard,
            codeword_rate=rate_schedule(config.train, durations, 1 - config.model.ema_decay),
            noise_offset=config.model.noise_offset,
            codebook_weight=config.model.codebook_weight,
            commitment_weight=config.model.commitment_weight,
            contrastive_weight=config.model.contrastive_weight,
            alignment_weight=config.model.alignment_weight,
            contrastive_temperature=config.model.contrastive_temperature,
            batch_size=config.train.batch_size,
            unit_norm=config.data.unit_norm,
            mixed=config.train.precision == "bfloat16",
            augmentation=config.train.augmentation,
        )

    def forward(self, params: nnx.State, statistics: nnx.State, batch: jax.Array, step: jax.Array) -> RQVAEOutput:
        """The pass that training makes at a step, with that step's temperature, noise and dropout."""
        model = nnx.merge(self.graphdef, params, statistics)
        return model(
            batch,
            key=stream_key(self.seed, "forward", step),
            decoder_gradient=jnp.where(self.settling(step), 0.0, 1.0),
            mixed=self.mixed,
            **self._choices(step),
        )

    def quantize(self, params: nnx.State, statistics: nnx.State, batch: jax.Array, step: jax.Array) -> QuantizerOutput:
        """Encoder and quantizer of such a pass, for further items of a step, with dropout and noise of their own."""
        model = nnx.merge(self.graphdef, params, statistics)
        encoder_key, noise_key = jax.random.split(stream_key(self.seed, "partner_forward", step))
        latents = model.encoder(apply_scaling(model.scaling, batch), encoder_key, mixed=self.mixed)
        return model.quantizer(latents, key=noise_key, **self._choices(step))

    def align(self, params: nnx.State, statistics: nnx.State, quantized: jax.Array) -> jax.Array:
        """What quantized vectors `[B, Z]` say of their items' co-occurrence vectors, `[B, C]`."""
        return nnx.merge(self.graphdef, params, statistics).align(quantized)

    def _choices(self, step: jax.Array) -> dict[str, Any]:
        return {"temperature": self.temperature(step), "noise_scale": self.noise_scale(step), "hard": self.hard}

    def augment(self, batch: jax.Array, step: jax.Array) -> jax.Array:
        """The batch as a step sees it: displaced until codes settle, and then as it is."""
        if not self.augmentation:
            return batch
        share = jnp.where(self.settling(step), 0.0, self.augmentation)
        return displaced(normalize(batch, self.unit_norm), share)

    def at(self, step: int) -> Recipe:
        """The recipe for a call that starts at a step: in the last part of a run, nothing is rounded to bfloat16.

        There codes are settled, and those of training are to be those of export.
        """
        settled = self.mixed and step >= self.durations.settle_from_step
        return dataclasses.replace(self, mixed=False) if settled else self

    def model(self, state: TrainState) -> RQVAE:
        """The model with the state's parameters."""
        return nnx.merge(self.graphdef, state.params, state.statistics)

    def settling(self, step: jax.Array) -> jax.Array:
        """Whether a step is in the last part of the run, where codes are settled.

        A latent vector that is pushed out of the cell of either of two codes comes to rest on the border between them,
        and so does a codeword that the decoder pulls at: there a rounding error decides. Hence the encoder holds still
        at the end, the decoder only learns, and codewords move to the middle of their items, away from such ties.
        """
        return step >= self.durations.settle_from_step
