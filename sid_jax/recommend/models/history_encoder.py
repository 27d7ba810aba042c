"""The causal transformer over the items of histories."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.recommend.models.layers import (
    MASKED,
    Attention,
    DistanceBias,
    FeedForward,
    GatedFeedForward,
    Linear,
    RMSNorm,
    dropout,
    split_key,
)


class HistoryEncoder(nnx.Module):
    """A causal pre-norm transformer, with a learned attention bias per distance.

    A row of a batch may hold several histories.

    Args:
      features: F, features of the item embeddings and of the output.
      num_layers: number of blocks.
      num_heads: number of heads of each attention layer.
      hidden: hidden features of each feed-forward layer.
      window: number of distances with separate biases.
      dropout: dropout rate of the embeddings and of each branch's output.
      block: "prenorm" or "ligr". In a "ligr" block, each branch is multiplied by a sigmoid gate of the residual stream
        before it is added to the stream, and the feed-forward layer is SwiGLU (LiGR, 2502.03417; eSASRec, 2508.06450).
      rngs: random number generators of the kernels.
    """

    def __init__(
        self,
        features: int,
        *,
        num_layers: int,
        num_heads: int,
        hidden: int,
        window: int,
        dropout: float,
        block: str = "prenorm",
        rngs: nnx.Rngs,
    ):
        make = _GatedBlock if block == "ligr" else _Block
        self.blocks = nnx.List(make(features, num_heads, hidden, window, dropout, rngs=rngs) for _ in range(num_layers))
        self.norm = RMSNorm(features)
        self.features = features
        self.dropout = dropout

    def __call__(self, embeddings: jax.Array, segments: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Maps item embeddings to the hidden state after each item.

        Args:
          embeddings: `[B, W, F]`.
          segments: `[B, W]` int32, equal for the items of one history; a position attends to itself and to earlier
            positions of its history.
          key: PRNG key of dropout; None disables dropout.

        Returns:
          `[B, W, F]`.
        """
        keys = split_key(key, len(self.blocks) + 1)
        place = jnp.arange(segments.shape[1])
        visible = (segments[:, :, None] == segments[:, None, :]) & (place[:, None] >= place[None, :])[None]
        hidden = dropout(embeddings, self.dropout, keys[0])
        for block, block_key in zip(self.blocks, keys[1:], strict=True):
            hidden = block(hidden, visible, block_key)
        return self.norm(hidden)


class _Block(nnx.Module):
    _FEED_FORWARD: type[FeedForward | GatedFeedForward] = FeedForward

    def __init__(self, features: int, num_heads: int, hidden: int, window: int, dropout: float, *, rngs: nnx.Rngs):
        self.attention_norm = RMSNorm(features)
        self.attention = Attention(features, num_heads, rngs=rngs)
        self.distance_bias = DistanceBias(num_heads, window)
        self.feed_forward_norm = RMSNorm(features)
        self.feed_forward = self._FEED_FORWARD(features, hidden, rngs=rngs)
        self.dropout = dropout

    def __call__(self, hidden: jax.Array, visible: jax.Array, key: jax.Array | None) -> jax.Array:
        attention_key, feed_forward_key = split_key(key, 2)
        place = jnp.arange(hidden.shape[1])
        bias = jnp.where(visible[:, None], self.distance_bias(place, place)[None], MASKED)
        normed = self.attention_norm(hidden)
        attended = self.attention(*self.attention.queries_keys_values(normed), bias)
        hidden = hidden + self._gated(0, hidden, dropout(attended, self.dropout, attention_key))
        fed = self.feed_forward(self.feed_forward_norm(hidden))
        return hidden + self._gated(1, hidden, dropout(fed, self.dropout, feed_forward_key))

    def _gated(self, branch: int, hidden: jax.Array, output: jax.Array) -> jax.Array:
        """Returns what branch 0 (attention) or 1 (feed-forward) adds to the residual stream: here, `output` itself."""
        del branch, hidden
        return output


class _GatedBlock(_Block):
    _FEED_FORWARD = GatedFeedForward

    def __init__(self, features: int, num_heads: int, hidden: int, window: int, dropout: float, *, rngs: nnx.Rngs):
        super().__init__(features, num_heads, hidden, window, dropout, rngs=rngs)
        self.gates = nnx.List(Linear(features, features, rngs=rngs) for _ in range(2))

    def _gated(self, branch: int, hidden: jax.Array, output: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(self.gates[branch](hidden)) * output


def last_hidden(hidden: jax.Array, lengths: jax.Array) -> jax.Array:
    """Returns the hidden state after the last item of each history, `[B, F]`, from `[B, W, F]` and lengths `[B]`."""
    return jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]


def padded_segments(lengths: jax.Array, window: int) -> jax.Array:
    """Returns segments `[B, window]` of rows with one left-aligned history each: 1 for its items, 0 for padding."""
    return (jnp.arange(window)[None] < lengths[:, None]).astype(jnp.int32)
