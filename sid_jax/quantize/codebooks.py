"""Codebooks that change otherwise than by gradients on their codewords: moving averages, revival, and SimVQ's map."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from sid_jax.quantize.kmeans import fill_rows
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


def count_codes(codes: jax.Array, codebook_sizes: Sequence[int]) -> tuple[jax.Array, ...]:
    """Returns how often each code stands in codes `[B, L]`: for each level `[K]` int32."""
    return tuple(
        jnp.sum(jax.nn.one_hot(codes[:, level], size, dtype=jnp.int32), axis=0)
        for level, size in enumerate(codebook_sizes)
    )


def revive_codewords(
    key: jax.Array, codebook: jax.Array, dead: jax.Array, residuals: jax.Array, errors: jax.Array
) -> jax.Array:
    """Puts dead codewords on residuals drawn from a batch, without repetition, in proportion to their errors.

    After Dhariwal et al., Jukebox, 2005.00341, section 3.1 (random restarts); drawn by error, so that a code starts
    where one is missed. Weighted sampling without replacement by Efraimidis and Spirakis' keys, in the log domain.

    Args:
      key: PRNG key of the draw.
      codebook: `[K, Z]`.
      dead: `[K]` bool, the codewords to replace.
      residuals: `[B, Z]`, what the level was given.
      errors: `[B]`, the squared distance that the level left.

    Returns:
      The codebook `[K, Z]` with the dead rows replaced.
    """
    priorities = jnp.log(errors) + jax.random.gumbel(key, errors.shape, errors.dtype)
    return fill_rows(codebook, dead, residuals, priorities)


def transform_basis(basis: jax.Array, transform: jax.Array) -> jax.Array:
    """Returns the codebook `sg(C) W`: `[K, Z]` of a basis `[K, Z]` and a map `[Z, Z]`, which alone has a gradient.

    Every code that is taken moves W, and W moves every code, so that none is left behind.
    """
    return jnp.matmul(jax.lax.stop_gradient(basis), transform, precision=jax.lax.Precision.HIGHEST)


def basis_of(codewords: jax.Array, transform: jax.Array) -> jax.Array:
    """Returns the rows `[M, Z]` which `transform_basis` makes these codewords `[M, Z]` of, but for rounding.

    The map must be invertible; it starts as the identity.
    """
    return jnp.linalg.solve(transform.T, codewords.T).T
