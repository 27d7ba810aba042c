"""Resets dead codes during joint training."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.codebooks import count_codes, revive_codewords
from sid_jax.quantize.losses import squared_error


def revive_dead_codes(
    model: RQVAE, vectors: jax.Array, codes: jax.Array, key: jax.Array, enabled: jax.Array | bool = True
) -> tuple[jax.Array, ...]:
    """Moves the codewords of dead codes to residuals with large errors, in place.

    Args:
      model: the RQ-VAE, with codebooks that are themselves parameters (any method but "simvq").
      vectors: `[N, D]`, the vectors of all items.
      codes: `[N, L]` int32, the codes of these items.
      key: PRNG key for the random choice of residuals.
      enabled: bool scalar; may be traced. If False, no codeword is moved.

    Returns:
      For each level, a mask `[K]` bool of the codes whose codewords were moved. The optimizer's moments of these
      codewords should be reset.
    """
    residuals = model.encode(vectors)
    levels, moved = model.quantizer.levels, []
    counts, codebooks = count_codes(codes, model.quantizer.codebook_sizes), model.quantizer.codebooks
    for level, level_key in enumerate(jax.random.split(key, len(counts))):
        dead = (counts[level] == 0) & enabled
        left = residuals - codebooks[level][codes[:, level]]
        errors = squared_error(left, jnp.zeros_like(left))
        levels[level][...] = revive_codewords(level_key, levels[level][...], dead, residuals, errors)
        moved.append(dead)
        residuals = left
    return tuple(moved)
