"""Codebooks that follow the mean of their residuals, by moving averages instead of gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sid_jax.quantize.nearest import codewords_by_one_hot


def move_codewords(
    codebook: jax.Array, counts: jax.Array, residuals: jax.Array, codes: jax.Array, decay: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """Moves each codeword towards the mean of the batch's residuals that took it.

    With moving averages N of a code's count and m of its sum of residuals, the codeword is m / N (van den Oord et al.,
    1711.00937, appendix A.1). Here m is not kept, since it is N times the codeword. A code that nobody took stays.

    Args:
      codebook: `[K, Z]`.
      counts: `[K]` float32, N; any positive start, as 1.
      residuals: `[B, Z]`, what the level was given.
      codes: `[B]` int32, what the residuals took.
      decay: of the averages, a batch; may be traced.

    Returns:
      The codebook `[K, Z]` and the counts `[K]`, moved.
    """
    taken = jax.nn.one_hot(codes, codebook.shape[0], dtype=codebook.dtype)
    new_counts = decay * counts + (1 - decay) * jnp.sum(taken, axis=0)
    pull = codewords_by_one_hot(taken.T, residuals) - jnp.sum(taken, axis=0)[:, None] * codebook
    return codebook + (1 - decay) * pull / jnp.maximum(new_counts, 1e-12)[:, None], new_counts
