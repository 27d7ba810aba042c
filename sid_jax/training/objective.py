"""What a step makes smaller: the loss of a batch, the weighted sum of its terms."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.models.rqvae import RQVAEOutput
from sid_jax.quantize.losses import contrastive_loss, noise_loss, reconstruction_loss, squared_error
from sid_jax.quantize.residual import QuantizerOutput
from sid_jax.training.recipe import Recipe


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


def batch_loss(
    recipe: Recipe,
    params: nnx.State,
    statistics: nnx.State,
    batch: jax.Array,
    companions: Companions | None,
    step: jax.Array,
) -> tuple[jax.Array, tuple[dict[str, jax.Array], RQVAEOutput]]:
    """Returns the loss of a batch `[B, D]`, a scalar, its terms by name, and what the model made of the batch.

    Each term is a mean over the items of the whole batch, of sums over features, so that it means the same whatever the
    batch size and the number of devices. The contrastive one alone grows with the batch, which it tells partners from.
    """
    output = recipe.forward(params, statistics, batch, step)
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
        partners = recipe.quantize(params, statistics, companions.vectors, step)
        terms["contrastive_loss"] = _contrastive(recipe, output.quantizer, partners, companions)
        weight = jnp.where(recipe.settling(step), 0.0, recipe.contrastive_weight)
        loss += weight * squared_length * terms["contrastive_loss"]
    learned_noise: Any = params["quantizer"].get("noise")
    if learned_noise is not None:
        unexplained = terms["reconstruction_loss"] / squared_length
        loss += noise_loss(learned_noise[...], unexplained, recipe.noise_offset)
    return loss, (terms, output)


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
