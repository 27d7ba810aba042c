"""Several code tuples for each vector, the best first, where the greedy walk gives one."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.quantize.nearest import Codebooks


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
    stacked = jnp.concatenate([codebook.astype(jnp.float32) for codebook in codebooks])
    # With these two products no residual is needed: |x - c1 - c2|^2 = |x|^2 + (|c1|^2 - 2 x.c1) + (|c2|^2 - 2 x.c2)
    # + 2 c1.c2, so that a tuple costs additions, and not a product of its own.
    inner = _product(latents.astype(jnp.float32), stacked)
    between = _product(stacked, stacked)
    codes = jnp.zeros((len(latents), 1, 0), jnp.int32)
    distances = jnp.sum(jnp.square(latents.astype(jnp.float32)), axis=-1, keepdims=True)
    starts = np.cumsum([0, *(len(codebook) for codebook in codebooks)])
    for level, (start, end) in enumerate(itertools.pairwise(starts.tolist())):
        alone = jnp.diagonal(between)[None, start:end] - 2 * inner[:, start:end]
        longer = distances[..., None] + alone[:, None]
        for earlier in range(level):
            longer += 2 * between[:, start:end][codes[..., earlier] + starts[earlier]]
        nearest, place = jax.lax.top_k(-longer.reshape(len(latents), -1), min(width, longer[0].size))
        parent, code = place // (end - start), place % (end - start)
        codes = jnp.take_along_axis(codes, parent[..., None], axis=1)
        codes = jnp.concatenate([codes, code[..., None].astype(jnp.int32)], axis=-1)
        distances = -nearest
    return codes, jnp.maximum(distances, 0.0)


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)


def num_tuples(codebooks: Codebooks) -> int:
    """Returns how many code tuples there are: the product of the levels' K."""
    return math.prod(codebook.shape[0] for codebook in codebooks)
