"""One embedding for each (level, code), shared by the items that have the code, at the input and at the output."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.recommend.models.layers import add_last


class CodeEmbedding(nnx.Module):
    """The embeddings, and the logits that are their products with a hidden vector.

    Args:
      sizes: K of each of the L levels.
      features: F.
      dtype: of the embeddings that are looked up; the parameters are float32.
      rngs: for the embeddings.
    """

    def __init__(self, sizes: Sequence[int], features: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.sizes = tuple(sizes)
        self.dtype = dtype
        self.levels = nnx.List(
            nnx.Param(features**-0.5 * jax.random.normal(rngs.params(), (size, features))) for size in self.sizes
        )
        self.biases = nnx.List(nnx.Param(jnp.zeros(size)) for size in self.sizes)

    def code(self, level: int, codes: jax.Array) -> jax.Array:
        """Returns `[..., F]` for codes `[...]` of one level."""
        return self.levels[level][...].astype(self.dtype)[codes]

    def codes(self, semantic_ids: jax.Array) -> jax.Array:
        """Returns `[..., L, F]` for Semantic IDs `[..., L]`."""
        return jnp.stack([self.code(level, semantic_ids[..., level]) for level in range(len(self.sizes))], axis=-2)

    def logits(self, hidden: jax.Array, level: int) -> jax.Array:
        """Returns `[..., K]` for `[..., F]`."""
        return add_last(hidden @ self.levels[level][...].T.astype(hidden.dtype), self.biases[level][...])
