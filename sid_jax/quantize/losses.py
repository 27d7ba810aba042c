"""Loss terms of the RQ-VAE. Each function returns one value per item; the caller takes the mean over items.

In formulas, sg is the stop-gradient.

References:
  van den Oord et al., Neural Discrete Representation Learning, 1711.00937, eq. 3.
  van den Oord et al., Representation Learning with Contrastive Predictive Coding, 1807.03748, eq. 4: InfoNCE.
  PLUM, 2510.07784: InfoNCE on the quantized vectors of items that co-occur in histories.
  Wang et al., Learnable Item Tokenization for Generative Recommendation (LETTER), 2405.07314: InfoNCE between an item's
    quantized vector and its co-occurrence vector.
  Rajput et al., Recommender Systems with Generative Retrieval, 2305.05065, section 3.1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def squared_error(left: jax.Array, right: jax.Array) -> jax.Array:
    """Returns `|left - right|^2` of the vectors along the last axis: `[...]` for two arrays `[..., D]`."""
    return jnp.sum(jnp.square(left - right), axis=-1)


def reconstruction_loss(targets: jax.Array, reconstructions: jax.Array, present: jax.Array | None = None) -> jax.Array:
    """Returns the squared error `[...]` of each item's reconstruction `[..., D]`.

    Targets `[..., D]` are the scaled input vectors. Features with a False entry in `present`, `[..., D]` bool, do not
    count.
    """
    if present is not None:
        reconstructions = jnp.where(present, reconstructions, targets)
    return squared_error(jax.lax.stop_gradient(targets), reconstructions)


def codebook_loss(residuals: jax.Array, codewords: jax.Array) -> jax.Array:
    """Returns `|sg(residual) - codeword|^2` `[...]`, whose gradient moves only the codewords, toward the residuals."""
    return squared_error(jax.lax.stop_gradient(residuals), codewords)


def commitment_loss(residuals: jax.Array, codewords: jax.Array) -> jax.Array:
    """Returns `|residual - sg(codeword)|^2` `[...]`, whose gradient moves only the encoder, toward the codewords."""
    return squared_error(residuals, jax.lax.stop_gradient(codewords))


def contrastive_loss(
    vectors: jax.Array,
    partners: jax.Array,
    items: jax.Array,
    partner_items: jax.Array,
    temperature: float,
    counted: jax.Array | None = None,
) -> jax.Array:
    """Returns the InfoNCE loss `[B]` of each vector and its partner, with the other partners as negatives.

    The loss of vector z_i with partner p_i is `-log(exp(cos(z_i, p_i) / t) / sum_j exp(cos(z_i, p_j) / t))`, which is
    at least 0. The partner of row j is not a negative for row i if it is the same item as row i's partner, if it is the
    item of row i, or if both rows have the same item.

    Args:
      vectors, partners: `[B, Z]`.
      items, partner_items: `[B]`, the items of these vectors.
      temperature: t, above 0.
      counted: `[B]` bool, the partners that serve as negatives of other rows; None for all.
    """
    cosines = jnp.matmul(_unit_length(vectors), _unit_length(partners).T, precision=jax.lax.Precision.HIGHEST)
    right = (
        (partner_items[None] == partner_items[:, None])
        | (partner_items[None] == items[:, None])
        | (items[None] == items[:, None])
    )
    if counted is not None:
        right |= ~counted[None]
    logits = jnp.where(right & ~jnp.eye(len(items), dtype=bool), -jnp.inf, cosines / temperature)
    return jax.nn.logsumexp(logits, axis=1) - jnp.diagonal(logits)


def _unit_length(vectors: jax.Array) -> jax.Array:
    """Returns vectors scaled to length 1. A zero vector stays zero, with a gradient of 0."""
    squares = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    return vectors * jnp.where(squares > 0, jax.lax.rsqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)
