"""The interface of a model that generates Semantic IDs code by code, and its code embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.models.catalog import Catalog
from sid_jax.recommend.models.layers import add_last

# A pytree whose leaves have the axes [B, M, ...]: what a model knows of M beams.
Beams = Any


class CodeModel(Protocol):
    """A model that scores the next code of an ID, given a history and the codes before it."""

    def loss(self, batch: Any, catalog: Catalog, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Returns the cross-entropy of each level's codes, summed over the targets, `[L]`, and the targets' weight.

        Args:
          batch: of the examples that the model trains on.
          catalog: whose items the batch names.
          key: for dropout; None drops nothing.
        """
        ...

    def begin(self, histories: HistoryBatch, catalog: Catalog) -> tuple[Any, Beams]:
        """Reads the histories, once.

        Returns:
          What all beams of a user share, leading axis B, and what is known of one empty beam, leading axes `[B, 1]`.
        """
        ...

    def score(self, shared: Any, beams: Beams, level: int) -> tuple[jax.Array, Beams]:
        """Returns the logits `[B, M, K]` float32 of the next code, and the beams with what was computed kept."""
        ...

    def extend(self, beams: Beams, level: int, parents: jax.Array, codes: jax.Array) -> Beams:
        """Returns new beams: beam m is beam `parents[b, m]` followed by the code `codes[b, m]`, each `[B, M]`."""
        ...


def choose_beams(beams: Beams, parents: jax.Array) -> Beams:
    """Returns the beams `[B, M', ...]` that `parents` `[B, M']` names, from leaves `[B, M, ...]`."""
    return jax.tree.map(lambda leaf: jax.vmap(lambda row, chosen: row[chosen])(leaf, parents), beams)


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
