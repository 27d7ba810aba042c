"""Dead codes: counting who is used, and a new start for those that are not."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from sid_jax.quantize.kmeans import fill_rows


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
