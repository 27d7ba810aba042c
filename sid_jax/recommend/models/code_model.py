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

# A model's state of M beams: a pytree whose leaves have the axes [B, M, ...].
Beams = Any


class CodeModel(Protocol):
    """A generative decoder, which scores the next code of an ID, given a history and the ID's previous codes."""

    def loss(self, batch: Any, catalog: Catalog, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Returns each level's cross-entropy (`[L]`, sums over the targets), and the total weight of the targets.

        Args:
          batch: a batch of training examples, of the type that the model trains on.
          catalog: the catalog of the batch's items.
          key: PRNG key of dropout; None disables dropout.
        """
        ...

    def begin(self, histories: HistoryBatch, catalog: Catalog) -> tuple[Any, Beams]:
        """Encodes the histories, once per search.

        Returns:
          The state that all beams of a user share, with the leading axis B, and the state of one empty beam, with the
          leading axes `[B, 1]`.
        """
        ...

    def score(self, shared: Any, beams: Beams, level: int) -> tuple[jax.Array, Beams]:
        """Returns the logits `[B, M, K]` float32 of the next code, and the beams with updated caches."""
        ...

    def extend(self, beams: Beams, level: int, parents: jax.Array, codes: jax.Array) -> Beams:
        """Returns new beams: beam m of user b is the beam `parents[b, m]`, extended by the code `codes[b, m]`."""
        ...


def choose_beams(beams: Beams, parents: jax.Array) -> Beams:
    """Returns the beams with the indices `parents` `[B, M']`: each leaf `[B, M, ...]` becomes `[B, M', ...]`."""
    return jax.tree.map(lambda leaf: jax.vmap(lambda row, chosen: row[chosen])(leaf, parents), beams)


class CodeEmbedding(nnx.Module):
    """Code embeddings of each level, also used as the output layer.

    The logits are hidden vectors times embeddings, plus a bias for each code.

    Args:
      sizes: K of each of the L levels.
      features: F, the size of an embedding.
      dtype: dtype of looked-up embeddings; the parameters are float32.
      rngs: random number generators of the embeddings.
    """

    def __init__(self, sizes: Sequence[int], features: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.sizes = tuple(sizes)
        self.dtype = dtype
        self.levels = nnx.List(
            nnx.Param(features**-0.5 * jax.random.normal(rngs.params(), (size, features))) for size in self.sizes
        )
        self.biases = nnx.List(nnx.Param(jnp.zeros(size)) for size in self.sizes)

    def code(self, level: int, codes: jax.Array) -> jax.Array:
        """Returns the embeddings `[..., F]` of codes `[...]` of one level."""
        return self.levels[level][...].astype(self.dtype)[codes]

    def codes(self, semantic_ids: jax.Array) -> jax.Array:
        """Returns the embeddings `[..., L, F]` of Semantic IDs `[..., L]`."""
        return jnp.stack([self.code(level, semantic_ids[..., level]) for level in range(len(self.sizes))], axis=-2)

    def logits(self, hidden: jax.Array, level: int) -> jax.Array:
        """Returns the logits `[..., K]` of a level's codes for hidden vectors `[..., F]`."""
        return add_last(hidden @ self.levels[level][...].T.astype(hidden.dtype), self.biases[level][...])
