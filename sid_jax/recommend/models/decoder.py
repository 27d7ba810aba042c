"""The decoder-only recommender: one position per item, and a small network that generates the next item's codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.data.packing import PackedRows
from sid_jax.recommend.models.catalog import Catalog, code_loss
from sid_jax.recommend.models.code_model import Beams, CodeEmbedding, choose_beams
from sid_jax.recommend.models.history_encoder import HistoryEncoder, last_hidden, padded_segments
from sid_jax.recommend.models.layers import FeedForward, Linear, RMSNorm, add_last, dropout, split_key


class Decoder(nnx.Module):
    """Generates Semantic IDs with a causal transformer over items.

    An item's input is the sum of its codes' embeddings, so a history of W items has W positions instead of W * L. The
    next item's ID is generated from the hidden state after an item. At each level, a feed-forward network reads the sum
    of the hidden state, a level embedding and a linear map of the embeddings of the codes generated so far. The logits
    are the inner products of the network's output with the embeddings of the level's codes. Training predicts the next
    item at every position of a history. During generation, each beam runs only this small network, not the transformer.

    The division into a transformer over items and a small network over an item's codes follows RQ-Transformer (Lee et
    al., 2203.01941, section 3.2), with a feed-forward network instead of the depth transformer.

    Args:
      sizes: K of each of the L levels.
      encoder: transformer over items; its number of features F is also the size of the code embeddings.
      code_hidden: hidden features of the feed-forward network.
      dropout: dropout rate of the feed-forward network's output.
      dtype: dtype of activations; parameters, norms and logits are float32.
      rngs: random number generators of the parameters.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        encoder: HistoryEncoder,
        *,
        code_hidden: int,
        dropout: float,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        features = encoder.features
        self.embedding = CodeEmbedding(sizes, features, dtype=dtype, rngs=rngs)
        self.encoder = encoder
        self.level = nnx.Param(features**-0.5 * jax.random.normal(rngs.params(), (len(sizes), features)))
        self.prefix = Linear(features, features, bias=False, rngs=rngs)
        self.norm = RMSNorm(features)
        self.speller = FeedForward(features, code_hidden, rngs=rngs)
        self.out_norm = RMSNorm(features)
        self.dropout = dropout

    def loss(self, batch: PackedRows, catalog: Catalog, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Returns each level's cross-entropy (`[L]`, sums over the targets), and the total weight of the targets.

        Args:
          batch: packed rows of histories, with a target at every position.
          catalog: the catalog of the batch's items.
          key: PRNG key of dropout; None disables dropout.
        """
        read = self._embed(catalog.semantic_ids[batch.inputs])
        codes = catalog.semantic_ids[batch.targets]

        def loss_of_level(logits: jax.Array, level: int) -> jax.Array:
            return code_loss(logits, catalog, batch.targets, level)

        return self.loss_after(read, batch, codes, loss_of_level, key)

    def loss_after(
        self,
        read: jax.Array,
        batch: PackedRows,
        codes: jax.Array,
        loss_of_level: Callable[[jax.Array, int], jax.Array],
        key: jax.Array | None,
    ) -> tuple[jax.Array, jax.Array]:
        """Computes the result of `loss` from given input embeddings, target codes and a loss function per level.

        Args:
          read: `[B, P, F]`, the embeddings of the batch's inputs.
          batch: provides segments and weights.
          codes: `[B, P, L]` int32, the codes of the targets, which are inputs of the later levels (teacher forcing).
          loss_of_level: returns the loss `[B, P]` of logits `[B, P, K]` at a level.
          key: PRNG key of dropout; None disables dropout.
        """
        encoder_key, *speller_keys = split_key(key, 1 + len(self.embedding.sizes))
        known = self.encoder(read, batch.segments, encoder_key)
        chosen, losses = jnp.zeros((1,) * known.ndim, known.dtype), []
        for level, speller_key in enumerate(speller_keys):
            logits = self.embedding.logits(self._spell(known, chosen, level, speller_key), level)
            losses.append(jnp.sum(batch.weights * loss_of_level(logits, level)))
            chosen = chosen + self.embedding.code(level, codes[..., level])
        return jnp.stack(losses), jnp.sum(batch.weights)

    def begin(self, histories: HistoryBatch, catalog: Catalog) -> tuple[jax.Array, Beams]:
        """Returns the hidden state after each history, `[B, F]`, and an empty beam, whose sum of embeddings is 0."""
        segments = padded_segments(histories.lengths, histories.items.shape[1])
        read = self._embed(catalog.semantic_ids[histories.items])
        known = last_hidden(self.encoder(read, segments), histories.lengths)
        return known, jnp.zeros_like(known)[:, None]

    def score(self, shared: jax.Array, beams: Beams, level: int) -> tuple[jax.Array, Beams]:
        """Returns the logits `[B, M, K]` of the next code, and the unchanged beams."""
        output = self._spell(shared[:, None], beams, level, None)
        return self.embedding.logits(output, level).astype(jnp.float32), beams

    def extend(self, beams: Beams, level: int, parents: jax.Array, codes: jax.Array) -> Beams:
        """Returns beams `[B, M', F]` with one more code each."""
        return choose_beams(beams, parents) + self.embedding.code(level, codes)

    def _embed(self, codes: jax.Array) -> jax.Array:
        """Returns the input embedding `[..., F]` of items with the codes `[..., L]`."""
        return jnp.sum(self.embedding.codes(codes), axis=-2)

    def _spell(self, known: jax.Array, chosen: jax.Array, level: int, key: jax.Array | None) -> jax.Array:
        """Returns a level's output vector, from the hidden state and the sum of the embeddings of earlier codes."""
        state = add_last(known, self.level[...][level])
        if level:  # The first level has no previous codes.
            state = state + self.prefix(chosen)
        return self.out_norm(state + dropout(self.speller(self.norm(state)), self.dropout, key))
