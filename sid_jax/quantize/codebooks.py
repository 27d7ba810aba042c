"""Operations on codebooks: updates by moving averages (EMA), resets of dead codes, and SimVQ's linear map."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from sid_jax.quantize.kmeans import fill_rows
from sid_jax.quantize.nearest import codewords_by_one_hot


def move_codewords(
    codebook: jax.Array, counts: jax.Array, residuals: jax.Array, codes: jax.Array, decay: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """Moves each codeword toward the mean of the batch's residuals assigned to it (EMA update).

    Let N be the moving average of a code's count, and m the moving average of the sum of its residuals. The codeword is
    m / N (van den Oord et al., 1711.00937, appendix A.1). The sum m is not stored, since it is N times the codeword. A
    code without residuals in the batch keeps its codeword.

    Args:
      codebook: `[K, Z]`.
      counts: `[K]` float32, N; may be initialized with any positive value, such as 1.
      residuals: `[B, Z]`, the level's input.
      codes: `[B]` int32, the code assigned to each residual.
      decay: decay of the moving averages per batch; may be traced.

    Returns:
      The updated codebook `[K, Z]` and counts `[K]`.
    """
    taken = jax.nn.one_hot(codes, codebook.shape[0], dtype=codebook.dtype)
    new_counts = decay * counts + (1 - decay) * jnp.sum(taken, axis=0)
    pull = codewords_by_one_hot(taken.T, residuals) - jnp.sum(taken, axis=0)[:, None] * codebook
    return codebook + (1 - decay) * pull / jnp.maximum(new_counts, 1e-12)[:, None], new_counts


def count_codes(codes: jax.Array, codebook_sizes: Sequence[int]) -> tuple[jax.Array, ...]:
    """Returns the number of occurrences of each code in codes `[B, L]`: for each level `[K]` int32."""
    return tuple(
        jnp.sum(jax.nn.one_hot(codes[:, level], size, dtype=jnp.int32), axis=0)
        for level, size in enumerate(codebook_sizes)
    )


def revive_codewords(
    key: jax.Array, codebook: jax.Array, dead: jax.Array, residuals: jax.Array, errors: jax.Array
) -> jax.Array:
    """Replaces dead codewords by residuals of a batch, sampled without replacement in proportion to their errors.

    If there are more dead codewords than residuals, residuals are used several times.

    This is the random restart of Dhariwal et al., Jukebox, 2005.00341, section 3.1, but with sampling by error, which
    places codes where the codebook fits worst. The sampling takes the residuals with the highest random priorities
    (weighted sampling of Efraimidis and Spirakis, in the log domain).

    Args:
      key: PRNG key of the draw.
      codebook: `[K, Z]`.
      dead: `[K]` bool, the codewords to replace.
      residuals: `[B, Z]`, the level's input.
      errors: `[B]`, the squared distance from each residual to its codeword.

    Returns:
      The codebook `[K, Z]` with the dead rows replaced.
    """
    priorities = jnp.log(errors) + jax.random.gumbel(key, errors.shape, errors.dtype)
    return fill_rows(codebook, dead, residuals, priorities)


def transform_basis(basis: jax.Array, transform: jax.Array) -> jax.Array:
    """Returns SimVQ's codebook `sg(C) W`, `[K, Z]`, of a basis C `[K, Z]` and a linear map W `[Z, Z]`.

    Only the map has a gradient. Every code in use contributes to the gradient of W, and W moves every code, so dead
    codes move too.
    """
    return jnp.matmul(jax.lax.stop_gradient(basis), transform, precision=jax.lax.Precision.HIGHEST)


def basis_of(codewords: jax.Array, transform: jax.Array) -> jax.Array:
    """Returns the basis rows `[M, Z]` of codewords `[M, Z]`: the inverse of `transform_basis`, up to rounding.

    The linear map `transform` must be invertible. SimVQ initializes it as the identity.
    """
    return jnp.linalg.solve(transform.T, codewords.T).T
