"""TIGER's recommender: a T5-like encoder-decoder over the codes of a history (Rajput et al., 2305.05065)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.data.packing import PrefixExamples
from sid_jax.recommend.models.catalog import Catalog, code_loss
from sid_jax.recommend.models.code_model import Beams, CodeEmbedding, choose_beams
from sid_jax.recommend.models.layers import MASKED, Attention, DistanceBias, FeedForward, RMSNorm, dropout, split_key

KeysValues = tuple[jax.Array, jax.Array]


class EncoderDecoder(nnx.Module):
    """Encodes a user token and the codes of a history, and generates the next item's codes autoregressively.

    As in the paper (sections 3.2 and 4), users share a limited number of tokens, the encoder reads the codes of the
    history, and the decoder attends to the encoder's output and to the previous codes. Relative position biases and
    pre-norm blocks are those of T5 (Raffel et al., 1910.10683), except that each distance has its own bias. In T5,
    several distances share one bias.

    Args:
      sizes: K of each of the L levels.
      features: F.
      num_layers: number of blocks of the encoder, and of the decoder.
      num_heads: number of heads of each attention layer.
      head_features: features of each head.
      hidden: hidden features of each feed-forward layer.
      num_user_tokens: number of tokens that users share.
      window: maximum history length. It determines the number of distances with separate position biases.
      dropout: dropout rate of embeddings and of each branch's output.
      dtype: dtype of activations.
      rngs: random number generators of the parameters.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        features: int,
        num_layers: int,
        num_heads: int,
        head_features: int,
        hidden: int,
        num_user_tokens: int,
        window: int,
        dropout: float,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        num_levels = len(sizes)
        self.embedding = CodeEmbedding(sizes, features, dtype=dtype, rngs=rngs)
        self.users = nnx.Param(features**-0.5 * jax.random.normal(rngs.params(), (num_user_tokens, features)))
        self.start = nnx.Param(features**-0.5 * jax.random.normal(rngs.params(), (1, features)))
        self.encoder_bias = DistanceBias(num_heads, window * num_levels + 1, both_ways=True)
        self.decoder_bias = DistanceBias(num_heads, num_levels)
        self.encoder_blocks = nnx.List(
            _EncoderBlock(features, num_heads, head_features, hidden, dropout, rngs=rngs) for _ in range(num_layers)
        )
        self.decoder_blocks = nnx.List(
            _DecoderBlock(features, num_heads, head_features, hidden, dropout, rngs=rngs) for _ in range(num_layers)
        )
        self.encoder_norm = RMSNorm(features)
        self.decoder_norm = RMSNorm(features)
        self.dropout = dropout

    def loss(self, batch: PrefixExamples, catalog: Catalog, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Returns each level's cross-entropy (`[L]`, sums over the targets), and the number of targets.

        Args:
          batch: histories, each with its next item as the target.
          catalog: the catalog of the batch's items.
          key: PRNG key of dropout; None disables dropout.
        """
        encoder_key, decoder_key = split_key(key, 2)
        memory = self._encode(HistoryBatch(batch.histories, batch.lengths, batch.users), catalog, encoder_key)
        codes = catalog.semantic_ids[batch.targets]
        inputs = jnp.concatenate([self._starts(codes.shape[0]), self.embedding.codes(codes)[:, :-1]], axis=1)
        place = jnp.arange(codes.shape[1])
        bias = jnp.where(place[:, None] >= place[None, :], self.decoder_bias(place, place), MASKED)[None]
        keys = split_key(decoder_key, len(self.decoder_blocks) + 1)
        hidden = dropout(inputs, self.dropout, keys[0])
        for block, (memory_keys_values, memory_bias), block_key in zip(
            self.decoder_blocks, memory, keys[1:], strict=True
        ):
            queries, own = block.self_attention.queries_keys_values(block.self_norm(hidden))
            hidden = block(hidden, queries, own, bias, memory_keys_values, memory_bias, block_key)
        outputs = self.decoder_norm(hidden)
        losses = [
            jnp.sum(code_loss(self.embedding.logits(outputs[:, level], level), catalog, batch.targets, level))
            for level in range(codes.shape[1])
        ]
        return jnp.stack(losses), jnp.float32(codes.shape[0])

    def begin(self, histories: HistoryBatch, catalog: Catalog) -> tuple[Any, Beams]:
        """Returns the state that all beams share, and one beam per user, with the start token and empty caches.

        The shared state has each decoder block's keys, values and padding bias of the history.
        """
        memory = self._encode(histories, catalog, None)
        starts = self._starts(histories.lengths.shape[0])
        attention = self.decoder_blocks[0].self_attention
        nothing = jnp.zeros((starts.shape[0], 1, 0, attention.num_heads, attention.head_features), starts.dtype)
        return memory, (starts, [(nothing, nothing) for _ in self.decoder_blocks])

    def score(self, shared: Any, beams: Beams, level: int) -> tuple[jax.Array, Beams]:
        """Returns the logits `[B, M, K]` of the next code, and the beams with this step's keys and values cached."""
        # `hidden` has one position per beam: [B, M, 1, F]. The caches of the previous positions are
        # [B, M, level, H, E].
        inputs, caches = beams
        hidden = inputs[:, :, None]
        bias = self.decoder_bias(jnp.array([level]), jnp.arange(level + 1))[None, None]
        grown = []
        for block, ((keys, values), memory_bias), cache in zip(self.decoder_blocks, shared, caches, strict=True):
            queries, own = block.self_attention.queries_keys_values(block.self_norm(hidden))
            own = jax.tree.map(lambda old, new: jnp.concatenate([old, new], axis=2), cache, own)
            grown.append(own)
            hidden = block(hidden, queries, own, bias, (keys[:, None], values[:, None]), memory_bias[:, None], None)
        logits = self.embedding.logits(self.decoder_norm(hidden)[:, :, 0], level)
        return logits.astype(jnp.float32), (inputs, grown)

    def extend(self, beams: Beams, level: int, parents: jax.Array, codes: jax.Array) -> Beams:
        """Returns beams whose next input is the chosen code, each with its parent's cache."""
        _, caches = beams
        return self.embedding.code(level, codes), choose_beams(caches, parents)

    def _starts(self, batch: int) -> jax.Array:
        start = self.start[...].astype(self.embedding.dtype)
        return jnp.broadcast_to(start[None], (batch, *start.shape))

    def _encode(
        self, histories: HistoryBatch, catalog: Catalog, key: jax.Array | None
    ) -> list[tuple[KeysValues, jax.Array]]:
        """Returns the keys and values `[B, 1 + W L, H, E]` for each decoder block, and the bias that masks padding."""
        codes = self.embedding.codes(catalog.semantic_ids[histories.items])
        batch, window, num_levels, features = codes.shape
        user = self.users[...].astype(codes.dtype)[histories.users % self.users.shape[0]]
        tokens = jnp.concatenate([user[:, None], codes.reshape(batch, window * num_levels, features)], axis=1)
        place = jnp.arange(tokens.shape[1])
        there = (place[None] <= histories.lengths[:, None] * num_levels)[:, None, None]
        bias = jnp.where(there, self.encoder_bias(place, place)[None], MASKED)
        keys = split_key(key, len(self.encoder_blocks) + 1)
        hidden = dropout(tokens, self.dropout, keys[0])
        for block, block_key in zip(self.encoder_blocks, keys[1:], strict=True):
            hidden = block(hidden, bias, block_key)
        memory = self.encoder_norm(hidden)
        memory_bias = jnp.where(there, 0.0, MASKED)
        return [(block.memory_attention.keys_values(memory), memory_bias) for block in self.decoder_blocks]


class _EncoderBlock(nnx.Module):
    def __init__(
        self, features: int, num_heads: int, head_features: int, hidden: int, dropout: float, *, rngs: nnx.Rngs
    ):
        self.self_norm, self.feed_forward_norm = RMSNorm(features), RMSNorm(features)
        self.self_attention = Attention(features, num_heads, head_features, rngs=rngs)
        self.feed_forward = FeedForward(features, hidden, rngs=rngs)
        self.dropout = dropout

    def __call__(self, hidden: jax.Array, bias: jax.Array, key: jax.Array | None) -> jax.Array:
        attention_key, feed_forward_key = split_key(key, 2)
        attended = self.self_attention(*self.self_attention.queries_keys_values(self.self_norm(hidden)), bias)
        hidden = hidden + dropout(attended, self.dropout, attention_key)
        return hidden + dropout(self.feed_forward(self.feed_forward_norm(hidden)), self.dropout, feed_forward_key)


class _DecoderBlock(nnx.Module):
    def __init__(
        self, features: int, num_heads: int, head_features: int, hidden: int, dropout: float, *, rngs: nnx.Rngs
    ):
        self.self_norm, self.memory_norm, self.feed_forward_norm = (RMSNorm(features) for _ in range(3))
        self.self_attention = Attention(features, num_heads, head_features, rngs=rngs)
        self.memory_attention = Attention(features, num_heads, head_features, rngs=rngs)
        self.feed_forward = FeedForward(features, hidden, rngs=rngs)
        self.dropout = dropout

    def __call__(
        self,
        hidden: jax.Array,
        queries: jax.Array,
        own: KeysValues,
        bias: jax.Array,
        memory: KeysValues,
        memory_bias: jax.Array,
        key: jax.Array | None,
    ) -> jax.Array:
        self_key, memory_key, feed_forward_key = split_key(key, 3)
        attended = self.self_attention(queries, own, bias)
        hidden = hidden + dropout(attended, self.dropout, self_key)
        remembered = self.memory_attention(self.memory_attention.queries(self.memory_norm(hidden)), memory, memory_bias)
        hidden = hidden + dropout(remembered, self.dropout, memory_key)
        return hidden + dropout(self.feed_forward(self.feed_forward_norm(hidden)), self.dropout, feed_forward_key)
