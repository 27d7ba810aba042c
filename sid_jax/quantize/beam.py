"""Several code tuples for each vector, the best first, where the greedy walk gives one."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from sid_jax.quantize.nearest import Codebooks, code_scores


@functools.partial(jax.jit, static_argnames="width")
def beam_codes(latents: jax.Array, codebooks: Codebooks, width: int) -> tuple[jax.Array, jax.Array]:
    """Returns code tuples of small distance to each vector, found by a beam search over the levels.

    At each level the tuples so far that are nearest to the vector go on (Babenko and Lempitsky, Additive Quantization,
    CVPR 2014, section 3.2). The greedy walk of `assign_codes` is the beam of width 1.

    Args:
      latents: `[B, Z]`.
      codebooks: L arrays `[K, Z]`, or one `[L, K, Z]`.
      width: static; tuples wanted and kept at each level.

    Returns:
      `[B, C, L]` int32, each tuple once, the nearest first, and `[B, C]` float32, the squared distances of their sums
      to the vector; C is the width, or the number of tuples there are if that is less.
    """
    residuals = latents.astype(jnp.float32)[:, None]
    codes = jnp.zeros((*residuals.shape[:2], 0), jnp.int32)
    distances = jnp.zeros(residuals.shape[:2], jnp.float32)
    for codebook in codebooks:
        size = codebook.shape[0]
        norms = jnp.sum(jnp.square(residuals), axis=-1, keepdims=True)
        longer = (norms - code_scores(residuals, codebook)).reshape(len(residuals), -1)
        nearest, place = jax.lax.top_k(-longer, min(width, longer.shape[1]))
        parent, code = place // size, place % size
        codes = jnp.take_along_axis(codes, parent[..., None], axis=1)
        codes = jnp.concatenate([codes, code[..., None].astype(jnp.int32)], axis=-1)
        residuals = jnp.take_along_axis(residuals, parent[..., None], axis=1) - codebook[code].astype(jnp.float32)
        distances = jnp.maximum(-nearest, 0.0)
    return codes, distances


def num_tuples(codebooks: Codebooks) -> int:
    """Returns how many code tuples there are: the product of the levels' K."""
    return math.prod(codebook.shape[0] for codebook in codebooks)
