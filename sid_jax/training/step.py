"""One optimizer step as a pure function, and many of them as one compiled call."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from sid_jax.data.partners import Partners, draw_partners
from sid_jax.data.scaling import normalise
from sid_jax.models.rqvae import RQVAE, RQVAEOutput
from sid_jax.quantize.losses import contrastive_loss, noise_loss, reconstruction_loss, squared_error
from sid_jax.quantize.residual import QuantizerOutput
from sid_jax.quantize.revival import count_codes
from sid_jax.streams import stream_key
from sid_jax.training.augmentation import displaced
from sid_jax.training.codewords import follow_means, revive_unused
from sid_jax.training.optimizer import grad_norm, make_optimizer
from sid_jax.training.scan import scan_steps
from sid_jax.training.schedules import (
    Durations,
    Schedule,
    learning_rate_schedule,
    noise_schedule,
    rate_schedule,
    temperature_schedule,
)
from sid_jax.training.state import TrainState

Metrics = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that stays the same from step to step: a static argument of the compiled functions."""

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
    contrastive_temperature: float
    batch_size: int
    unit_norm: bool
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
            contrastive_temperature=config.model.contrastive_temperature,
            batch_size=config.train.batch_size,
            unit_norm=config.data.unit_norm,
            augmentation=config.train.augmentation,
        )

    def forward(self, params: nnx.State, statistics: nnx.State, batch: jax.Array, step: jax.Array) -> RQVAEOutput:
        """The pass that training makes at a step, with that step's temperature, noise and dropout."""
        model = nnx.merge(self.graphdef, params, statistics)
        return model(
            batch,
            key=stream_key(self.seed, "forward", step),
            decoder_gradient=jnp.where(self.settling(step), 0.0, 1.0),
            **self._choices(step),
        )

    def quantize(self, params: nnx.State, statistics: nnx.State, batch: jax.Array, step: jax.Array) -> QuantizerOutput:
        """Encoder and quantizer of that pass alone, for further items of a step, with noise of their own."""
        model = nnx.merge(self.graphdef, params, statistics)
        return model.quantizer(
            model.encode(batch), key=stream_key(self.seed, "partner_noise", step), **self._choices(step)
        )

    def _choices(self, step: jax.Array) -> dict[str, Any]:
        return {"temperature": self.temperature(step), "noise_scale": self.noise_scale(step), "hard": self.hard}

    def augment(self, batch: jax.Array, step: jax.Array) -> jax.Array:
        """The batch as a step sees it: displaced until codes settle, and then as it is."""
        if not self.augmentation:
            return batch
        share = jnp.where(self.settling(step), 0.0, self.augmentation)
        return displaced(normalise(batch, self.unit_norm), share)

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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Companions:
    """For each item of a batch another that is taken with it.

    Attributes:
      items: `[B]` int32, the batch's items.
      partners: `[B]` int32, those taken with them.
      found: `[B]` bool; where it is False the partner is the item itself and does not count.
      vectors: `[B, D]`, the partners' input vectors.
    """

    items: jax.Array
    partners: jax.Array
    found: jax.Array
    vectors: jax.Array


def train_step(
    recipe: Recipe, state: TrainState, batch: jax.Array, companions: Companions | None = None
) -> tuple[TrainState, Metrics]:
    """Takes one optimizer step on a batch of input vectors `[B, D]`.

    The losses are sums over features and means over the items of the whole batch, so they mean the same whatever the
    batch size and the number of devices. In the metrics, `agreement` is the share of items whose codes are all the
    nearest ones (as export takes them), and `counts` how often each code was taken.
    """

    inputs = recipe.augment(batch, state.step)

    def loss_of(params: nnx.State) -> tuple[jax.Array, tuple[Metrics, RQVAEOutput]]:
        output = recipe.forward(params, state.statistics, inputs, state.step)
        terms = {
            "reconstruction_loss": jnp.mean(reconstruction_loss(output.targets, output.reconstructions)),
            "codebook_loss": jnp.mean(jnp.sum(output.quantizer.codebook_loss, axis=-1)),
            "commitment_loss": jnp.mean(jnp.sum(output.quantizer.commitment_loss, axis=-1)),
        }
        loss = (
            terms["reconstruction_loss"]
            + recipe.codebook_weight * terms["codebook_loss"]
            + recipe.commitment_weight * terms["commitment_loss"]
        )
        squared_length = jnp.mean(squared_error(output.targets, jnp.zeros_like(batch)))
        if companions is not None:
            partners = recipe.quantize(params, state.statistics, companions.vectors, state.step)
            terms["contrastive_loss"] = _contrastive(recipe, output.quantizer, partners, companions)
            weight = jnp.where(recipe.settling(state.step), 0.0, recipe.contrastive_weight)
            loss += weight * squared_length * terms["contrastive_loss"]
        learned_noise: Any = params["quantizer"].get("noise")
        if learned_noise is not None:
            unexplained = terms["reconstruction_loss"] / squared_length
            loss += noise_loss(learned_noise[...], unexplained, recipe.noise_offset)
        return loss, (terms, output)

    (loss, (terms, output)), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    updates, opt_state = recipe.optimizer.update(grads, state.opt_state, state.params)
    updates = _hold_encoder(updates, recipe.settling(state.step))
    counts = count_codes(output.quantizer.codes, [taken.shape[0] for taken in state.taken])
    metrics = {
        "loss": loss,
        **terms,
        "gradient_norm": grad_norm(grads),
        "agreement": jnp.mean(jnp.all(output.quantizer.nearest, axis=-1)),
        "temperature": recipe.temperature(state.step),
        "noise_scale": recipe.noise_scale(state.step) * recipe.model(state).quantizer.noise_scale,
        "learning_rate": recipe.learning_rate(state.step),
        "counts": counts,
    }
    state = TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        statistics=state.statistics,
        opt_state=opt_state,
        taken=tuple(taken + count for taken, count in zip(state.taken, counts, strict=True)),
    )
    if recipe.method == "ema":
        state = follow_means(state, output.quantizer, decay=1 - recipe.codeword_rate(state.step - 1))
    return _revive_when_due(recipe, state, output.quantizer), metrics


def _contrastive(
    recipe: Recipe, batch: QuantizerOutput, partners: QuantizerOutput, companions: Companions
) -> jax.Array:
    """Returns the contrastive loss in both directions, as a mean over the items that have a partner."""
    sides = (batch.quantized, companions.items), (partners.quantized, companions.partners)
    losses = [
        contrastive_loss(one, other, items, other_items, recipe.contrastive_temperature)
        for (one, items), (other, other_items) in (sides, sides[::-1])
    ]
    counted = jnp.where(companions.found, sum(losses) / 2, 0.0)
    return jnp.sum(counted) / jnp.maximum(jnp.sum(companions.found), 1)


def _revive_when_due(recipe: Recipe, state: TrainState, quantizer: QuantizerOutput) -> TrainState:
    every = recipe.durations.revive_every_steps
    if every == 0:
        return state
    due = (state.step % every == 0) & (state.step <= recipe.durations.revive_until_step)
    key = stream_key(recipe.seed, "revival", state.step)
    return jax.lax.cond(due, lambda: revive_unused(state, quantizer, recipe.optimizer, key), lambda: state)


def _hold_encoder(updates: nnx.State, hold: jax.Array) -> nnx.State:
    return jax.tree_util.tree_map_with_path(
        lambda path, update: jnp.where(hold, 0.0, update) if path[0].key == "encoder" else update, updates
    )


@functools.partial(jax.jit, static_argnames=("recipe", "num_steps", "mesh"), donate_argnames=("state",))
def train_steps(
    recipe: Recipe,
    state: TrainState,
    vectors: jax.Array,
    partners: Partners | None = None,
    *,
    num_steps: int,
    mesh: Mesh,
) -> tuple[TrainState, Metrics]:
    """Takes many steps in one compiled call, each on the next batch of the epoch's order.

    Args:
      recipe: what stays the same.
      state: donated.
      vectors: `[N, D]`, the corpus, on every device.
      partners: of its items, on every device, for a contrastive loss; None for none.
      num_steps: how many.
      mesh: its "data" axis shares out each batch.

    Returns:
      The state, and each metric with a leading axis of `num_steps`; `counts` are summed over it.
    """

    def take_step(state: TrainState, items: jax.Array) -> tuple[TrainState, Metrics]:
        if partners is None:
            return train_step(recipe, state, vectors[items])
        rows, found = draw_partners(stream_key(recipe.seed, "partners", state.step), partners, items)
        return train_step(recipe, state, vectors[items], Companions(items, rows, found, vectors[rows]))

    state, metrics = scan_steps(
        take_step,
        state,
        seed=recipe.seed,
        num_examples=vectors.shape[0],
        steps_per_epoch=recipe.durations.steps_per_epoch,
        batch_size=recipe.batch_size,
        num_steps=num_steps,
        mesh=mesh,
    )
    return state, {**metrics, "counts": tuple(counts.sum(0) for counts in metrics["counts"])}
