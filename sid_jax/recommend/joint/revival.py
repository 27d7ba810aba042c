"""Codes that no item has any more, started anew while the quantizer learns."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.codebooks import count_codes, revive_codewords
from sid_jax.quantize.losses import squared_error
from sid_jax.recommend.joint.step import JointRecipe
from sid_jax.training.optimizer import reset_moments


@functools.partial(jax.jit, static_argnames="recipe")
def revive_unused(
    recipe: JointRecipe,
    params: nnx.State,
    statistics: nnx.State,
    opt_state: optax.OptState,
    vectors: jax.Array,
    codes: jax.Array,
    key: jax.Array,
) -> tuple[nnx.State, optax.OptState]:
    """Puts the codewords of unused codes where items are badly served, and forgets what the optimizer knew of them.

    As training does (`sid_jax.training.optimizer`), but of codes that none of all items has.

    Args:
      recipe: its `quantizer` and `optimizer`.
      params, statistics: of the RQ-VAE.
      opt_state: of its parameters' optimizer.
      vectors: `[N, D]`, all items.
      codes: `[N, L]` int32, theirs.
      key: PRNG key of the draw.
    """
    model: RQVAE = nnx.merge(recipe.quantizer, params, statistics)
    residuals = model.encode(vectors)
    levels = model.quantizer.levels
    counts = count_codes(codes, model.quantizer.codebook_sizes)
    forget: Any = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[:1] + (1,) * (leaf.ndim - 1), bool), params)
    for level, level_key in enumerate(jax.random.split(key, len(counts))):
        codebook, dead = levels[level][...], counts[level] == 0
        left = residuals - codebook[codes[:, level]]
        errors = squared_error(left, jnp.zeros_like(left))
        levels[level][...] = revive_codewords(level_key, codebook, dead, residuals, errors)
        forget["quantizer"]["levels"][level][...] = dead[:, None]
        residuals = left
    params = nnx.state(model, nnx.Param)
    return params, reset_moments(recipe.optimizer, opt_state, params, forget)
