"""Computes the anchor of joint training: the quantizer's own loss, which keeps codes close to the items' content."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.losses import reconstruction_loss, squared_error
from sid_jax.quantize.residual import QuantizerOutput


def anchor_terms(
    quantizer: RQVAE,
    output: QuantizerOutput,
    inputs: jax.Array,
    counted: jax.Array,
    codebook_weight: float,
    commitment_weight: float,
) -> dict[str, jax.Array]:
    """Returns scalars by name: the terms of the quantizer's own loss, and the loss itself (`anchor_loss`).

    The loss is the weighted sum of the terms, divided by the mean squared length of the inputs.

    Args:
      quantizer: the RQ-VAE; its decoder is used.
      output: the quantizer's output for U items.
      inputs: `[U, D]`, the encoder's inputs.
      counted: `[U]` bool, the items over which the means are taken.
      codebook_weight, commitment_weight: weights of these two terms; the reconstruction loss has weight 1.
    """
    reconstructions = quantizer.decoder(output.quantized)
    length = jnp.maximum(_mean(squared_error(inputs, jnp.zeros_like(inputs)), counted), 1e-12)
    terms = {
        "reconstruction_loss": _mean(reconstruction_loss(inputs, reconstructions), counted),
        "codebook_loss": _mean(jnp.sum(output.codebook_loss, axis=-1), counted),
        "commitment_loss": _mean(jnp.sum(output.commitment_loss, axis=-1), counted),
    }
    total = (
        terms["reconstruction_loss"]
        + codebook_weight * terms["codebook_loss"]
        + commitment_weight * terms["commitment_loss"]
    )
    return {"anchor_loss": total / length, **terms}


def unevenness(probabilities: tuple[jax.Array, ...], counted: jax.Array) -> jax.Array:
    """Returns log K minus the entropy of the batch's mean assignment, averaged over levels; 0 for uniform usage.

    This is the codeword uniformity of UniGRec (2601.17438): the Kullback-Leibler divergence from the uniform
    distribution.
    """
    means = [jnp.sum(level * counted[:, None], axis=0) / jnp.sum(counted) for level in probabilities]
    return jnp.mean(jnp.stack([jnp.sum(mean * jnp.log(jnp.maximum(mean, 1e-20) * len(mean))) for mean in means]))


def _mean(values: jax.Array, counted: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(counted, values, 0.0)) / jnp.sum(counted)
