"""The training loss of a batch: the weighted sum of its terms."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.models.rqvae import RQVAEOutput
from sid_jax.quantize.losses import contrastive_loss, reconstruction_loss, squared_error
from sid_jax.quantize.residual import QuantizerOutput
from sid_jax.training.recipe import Recipe


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PartnerBatch:
    """For each item of a batch another that is taken with it.

    Attributes:
      items: `[B]` int32.
      found: `[B]` bool; where it is False the partner is the item itself and does not count.
      vectors: `[B, D]`, the partners' input vectors.
    """

    items: jax.Array
    found: jax.Array
    vectors: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Companions:
    """What histories say of a batch's items.

    Attributes:
      items: `[B]` int32, the batch's items.
      partners: None without a contrastive loss.
      collaborative: `[B, C]`, the items' co-occurrence vectors, zeros for one that has none; None without an alignment.
    """

    items: jax.Array
    partners: PartnerBatch | None = None
    collaborative: jax.Array | None = None


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
    batch size and the number of devices. Those of histories alone grow with the batch, of which they tell one from all.
    """
    weights = recipe.model_settings
    output = recipe.forward(params, statistics, batch, step)
    terms = {
        "reconstruction_loss": jnp.mean(reconstruction_loss(output.targets, output.reconstructions)),
        "codebook_loss": jnp.mean(jnp.sum(output.quantizer.codebook_loss, axis=-1)),
        "commitment_loss": jnp.mean(jnp.sum(output.quantizer.commitment_loss, axis=-1)),
    }
    loss = (
        terms["reconstruction_loss"]
        + weights.codebook_weight * terms["codebook_loss"]
        + weights.commitment_weight * terms["commitment_loss"]
    )
    if companions is not None:
        squared_length = jnp.mean(squared_error(output.targets, jnp.zeros_like(batch)))
        related = _related_losses(recipe, params, statistics, output.quantizer, companions, step)
        for name, (weight, value) in related.items():
            loss += jnp.where(recipe.settling(step), 0.0, weight) * squared_length * value
            terms[name] = value
    return loss, (terms, output)


def _related_losses(
    recipe: Recipe,
    params: nnx.State,
    statistics: nnx.State,
    batch: QuantizerOutput,
    companions: Companions,
    step: jax.Array,
) -> dict[str, tuple[float, jax.Array]]:
    """Returns the weight and the value of each loss that histories have a part in: means over the items they know."""
    settings, items, losses = recipe.model_settings, companions.items, {}
    temperature = settings.contrastive_temperature
    if companions.partners is not None:
        partners = companions.partners
        theirs = recipe.quantize(params, statistics, partners.vectors, step).quantized
        there = contrastive_loss(batch.quantized, theirs, items, partners.items, temperature)
        back = contrastive_loss(theirs, batch.quantized, partners.items, items, temperature)
        losses["contrastive_loss"] = settings.contrastive_weight, _mean_where(partners.found, (there + back) / 2)
    if companions.collaborative is not None:
        aligned = recipe.merged(params, statistics).align(batch.quantized)
        known = jnp.any(companions.collaborative != 0, axis=-1)
        told = contrastive_loss(aligned, companions.collaborative, items, items, temperature, counted=known)
        losses["alignment_loss"] = settings.alignment_weight, _mean_where(known, told)
    return losses


def _mean_where(counted: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(counted, values, 0.0)) / jnp.maximum(jnp.sum(counted), 1)
