"""The parallel recommender: predicts all codes of the next item's ID at once, and scores all items exactly."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.data.packing import PackedRows
from sid_jax.recommend.models.catalog import Catalog, cross_entropy
from sid_jax.recommend.models.history_encoder import HistoryEncoder, last_hidden, padded_segments


class Parallel(nnx.Module):
    """Predicts all codes of an ID independently of each other, with a causal transformer over items.

    The model follows RPG (Hou et al., 2506.05781). An item's input is the sum of its codes' embeddings. For each
    level, one head transforms the hidden state at an item's position. The logits of a level's codes are the cosines of
    the head's output with the codes' embeddings, divided by the temperature. The score of an item is the sum of its
    codes' log-probabilities (section 3.2 of the paper). Scoring an item takes a sum of L numbers, so all items are
    scored, and neither the paper's graph of items nor a beam search is needed.

    Args:
      sizes: K of each of the L levels.
      encoder: transformer over items; its number of features F is also the size of the code embeddings.
      temperature: temperature of the cosines.
      dtype: dtype of activations; parameters and logits are float32.
      rngs: random number generators of the parameters.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        encoder: HistoryEncoder,
        *,
        temperature: float,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        features = encoder.features
        self.codes = nnx.List(
            nnx.Param(features**-0.5 * jax.random.normal(rngs.params(), (size, features))) for size in sizes
        )
        self.encoder = encoder
        # Heads are residual, so kernels of zeros make each head the identity.
        self.heads = nnx.Param(jnp.zeros((len(sizes), features, features)))
        self.temperature = temperature
        self.dtype = dtype

    def loss(self, batch: PackedRows, catalog: Catalog, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Returns the loss `[1]`, summed over the targets, and the total weight of the targets.

        The loss of a target is the mean of the cross-entropies of its L codes.
        """
        known = self.encoder(self._embed(catalog.semantic_ids[batch.inputs]), batch.segments, key)
        wanted = catalog.semantic_ids[batch.targets]
        losses = [
            jnp.sum(batch.weights * cross_entropy(logits, wanted[..., level]))
            for level, logits in enumerate(self._logits(known))
        ]
        return jnp.mean(jnp.stack(losses))[None], jnp.sum(batch.weights)

    def item_vectors(self, catalog: Catalog) -> tuple[jax.Array, jax.Array]:
        """Returns the items' input embeddings `[N, F]` (sums of code embeddings), and the items' codes `[N, L]`."""
        return self._embed(catalog.semantic_ids), catalog.semantic_ids

    def read(self, histories: HistoryBatch, vectors: tuple[jax.Array, jax.Array]) -> list[jax.Array]:
        """Returns the log-probabilities `[B, K]` of each level's codes after each history."""
        segments = padded_segments(histories.lengths, histories.items.shape[1])
        known = last_hidden(self.encoder(vectors[0][histories.items], segments), histories.lengths)
        return [jax.nn.log_softmax(logits) for logits in self._logits(known)]

    def scores(self, known: list[jax.Array], vectors: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Returns the sums of the codes' log-probabilities `[B, n]` float32."""
        codes = vectors[1]
        total = jnp.zeros((len(codes), len(known[0])), jnp.float32)
        for level, chances in enumerate(known):
            # The sums are accumulated level by level, so that `[B, n, L]` is never materialized.
            total = total + chances.T[codes[:, level]]
        return total.T

    def _embed(self, codes: jax.Array) -> jax.Array:
        """Returns the sum of the L code embeddings of each item, `[..., F]`, from codes `[..., L]`."""
        return functools.reduce(
            jnp.add, (table[...].astype(self.dtype)[codes[..., level]] for level, table in enumerate(self.codes))
        )

    def _logits(self, known: jax.Array) -> list[jax.Array]:
        """Returns the logits `[..., K]` float32 of each level's codes."""
        heads = self.heads[...].astype(known.dtype)
        logits = []
        for level, table in enumerate(self.codes):
            expected = _unit(known + nnx.silu(known @ heads[level]))
            cosines = expected @ _unit(table[...]).T.astype(known.dtype)
            logits.append(cosines.astype(jnp.float32) / self.temperature)
        return logits


def _unit(vectors: jax.Array) -> jax.Array:
    wide = vectors.astype(jnp.float32)
    squares = jnp.sum(jnp.square(wide), axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))).astype(vectors.dtype)
