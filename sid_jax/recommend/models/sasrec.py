"""SASRec with the full-softmax cross-entropy: the strong baseline that knows items by their number, not their ID."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.data.packing import PackedRows
from sid_jax.recommend.models.catalog import Catalog, cross_entropy
from sid_jax.recommend.models.history_encoder import HistoryEncoder, last_hidden, padded_segments


class SASRec(nnx.Module):
    """A causal transformer over item embeddings that are also its output layer (Kang and McAuley, 1808.09781).

    It is trained with the cross-entropy over the whole catalog in the place of the paper's one negative an item,
    which makes it far stronger (Klenitskiy and Vasilev, 2309.07602).

    Args:
      num_items: N.
      encoder: over items.
      dtype: of activations.
      rngs: for the item embeddings.
    """

    def __init__(self, num_items: int, encoder: HistoryEncoder, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.items = nnx.Param(0.02 * jax.random.normal(rngs.params(), (num_items, encoder.features)))
        self.encoder = encoder
        self.dtype = dtype

    def loss(self, batch: PackedRows, catalog: Catalog, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Returns the cross-entropy over items, summed over the targets, `[1]`, and the targets' weight."""
        del catalog
        hidden = self._read(batch.inputs, batch.segments, key)
        losses = cross_entropy(self._score(hidden), batch.targets)
        return jnp.sum(batch.weights * losses)[None], jnp.sum(batch.weights)

    def scores(self, histories: HistoryBatch) -> jax.Array:
        """Returns a score for every item, `[B, N]` float32."""
        segments = padded_segments(histories.lengths, histories.items.shape[1])
        return self._score(last_hidden(self._read(histories.items, segments, None), histories.lengths))

    def _read(self, items: jax.Array, segments: jax.Array, key: jax.Array | None) -> jax.Array:
        return self.encoder(self.items[...].astype(self.dtype)[items], segments, key)

    def _score(self, hidden: jax.Array) -> jax.Array:
        return (hidden @ self.items[...].T.astype(hidden.dtype)).astype(jnp.float32)
