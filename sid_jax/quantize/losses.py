"""The terms of the RQ-VAE's loss. Each sums over features; the caller takes the mean over items.

References:
  van den Oord et al., Neural Discrete Representation Learning, 1711.00937, eq. 3.
  Rajput et al., Recommender Systems with Generative Retrieval, 2305.05065, section 3.1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def squared_error(left: jax.Array, right: jax.Array) -> jax.Array:
    """Returns `|left - right|^2` over the last axis: `[..., D]` and `[..., D]` to `[...]`."""
    return jnp.sum(jnp.square(left - right), axis=-1)


def reconstruction_loss(targets: jax.Array, reconstructions: jax.Array) -> jax.Array:
    """Returns `|x - x'|^2` of each item, `[..., D]` to `[...]`; targets are what the encoder was given, scaled."""
    return squared_error(jax.lax.stop_gradient(targets), reconstructions)


def codebook_loss(residuals: jax.Array, codewords: jax.Array) -> jax.Array:
    """Returns `|sg(r) - e|^2`, `[..., Z]` to `[...]`: it moves the codewords to the residuals and nothing else."""
    return squared_error(jax.lax.stop_gradient(residuals), codewords)


def commitment_loss(residuals: jax.Array, codewords: jax.Array) -> jax.Array:
    """Returns `|r - sg(e)|^2`, `[..., Z]` to `[...]`: it moves the encoder to the codewords and nothing else."""
    return squared_error(residuals, jax.lax.stop_gradient(codewords))
