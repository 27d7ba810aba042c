"""Vectors of the items of a recommender: sums of item and code embeddings, and a learned map of content vectors."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.models.mlp import matmul
from sid_jax.recommend.models.catalog import Catalog
from sid_jax.recommend.models.layers import Linear, dropout, gelu, split_key

PARTS = ("item", "codes", "content")
# Initial standard deviations of embeddings and of the content component. With these values, logits are initially
# small, and the largest component is content, which all items have.
_EMBEDDING_SCALE, _CONTENT_SCALE = 0.02, 0.04
# The multiplier of Knuth's multiplicative hash.
_HASH = 2654435761


class ItemVectors(nnx.Module):
    """Vectors of the items of a catalog, used for the items of a history and for the items that are scored.

    Codes are embedded as in Singh et al. (2306.08121), with one embedding per code and one per pair of the first two
    codes.

    Args:
      parts: the components of the sum, out of `PARTS`.
      num_items: N, number of items with an item embedding.
      sizes: K of each of the L levels.
      features: F.
      content_features: D of the content vectors; 0 if there are none.
      content_hidden: number of features of the hidden layer on the content; 0 maps the content linearly.
      num_pairs: number of embeddings for pairs of the first two codes, assigned by a hash; 0 disables pairs.
      item_dropout: share of items whose item embedding is omitted in a training step, so that the model learns to
        score items without an item embedding, such as new items.
      dropout: dropout rate of the content's hidden layer.
      rngs: random number generators of the parameters.
    """

    def __init__(
        self,
        parts: Sequence[str],
        num_items: int,
        sizes: Sequence[int],
        features: int,
        *,
        content_features: int,
        content_hidden: int,
        num_pairs: int,
        item_dropout: float,
        dropout: float,
        rngs: nnx.Rngs,
    ):
        def embeddings(rows: int) -> nnx.Param[jax.Array]:
            return nnx.Param(_EMBEDDING_SCALE * jax.random.normal(rngs.params(), (rows, features)))

        self.parts, self.features = tuple(parts), features
        self.item_dropout, self.dropout = item_dropout, dropout
        if "item" in parts:
            self.embedding = embeddings(num_items)
        if "codes" in parts:
            self.codes = nnx.List(embeddings(size) for size in sizes)
            # The number of embeddings is at most the number of possible pairs, since more would be unused.
            rows = min(num_pairs, sizes[0] * sizes[1]) if len(sizes) > 1 else 0
            self.pairs = embeddings(rows) if rows else None
        if "content" in parts:
            inner = content_hidden or content_features
            self.hidden = Linear(content_features, content_hidden, rngs=rngs) if content_hidden else None
            self.content = Linear(inner, features, bias=False, gain=_CONTENT_SCALE, rngs=rngs)

    def __call__(self, catalog: Catalog, rows: jax.Array | None = None, key: jax.Array | None = None) -> jax.Array:
        """Returns the vectors `[n, F]` float32 of items.

        Args:
          catalog: the catalog of the items.
          rows: `[n]` int32 row numbers of the items; None for all items.
          key: PRNG key of dropout; None disables dropout.
        """
        return functools.reduce(jnp.add, self.by_part(catalog, rows, key).values())

    def by_part(
        self, catalog: Catalog, rows: jax.Array | None = None, key: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns the components whose sum `__call__` returns, by name."""
        item_key, content_key = split_key(key, 2)
        summands = {
            "item": lambda: self._own(catalog, rows, item_key),
            "codes": lambda: self._of_codes(_chosen(catalog.semantic_ids, rows)),
            "content": lambda: self._of_content(catalog, rows, content_key),
        }
        return {part: summands[part]() for part in self.parts}

    def _own(self, catalog: Catalog, rows: jax.Array | None, key: jax.Array | None) -> jax.Array:
        embedding = self.embedding[...]
        number = len(catalog.semantic_ids) if rows is None else len(rows)
        if rows is not None or number != len(embedding):
            # Items that a newer ID table added come last. They have no item embedding, so this component is 0.
            places = jnp.arange(number) if rows is None else rows
            embedding = embedding.at[places].get(mode="fill", fill_value=0.0)
        there = jnp.ones((number, 1)) if catalog.cold is None else 1.0 - _chosen(catalog.cold, rows)[:, None]
        kept = dropout(jnp.ones((number, 1)), self.item_dropout, key) > 0
        return jnp.where(kept, embedding * there, 0.0)

    def _of_codes(self, codes: jax.Array) -> jax.Array:
        vectors = functools.reduce(jnp.add, (table[...][codes[:, level]] for level, table in enumerate(self.codes)))
        if self.pairs is None:
            return vectors
        number = codes[:, 0].astype(jnp.uint32) * jnp.uint32(len(self.codes[1])) + codes[:, 1].astype(jnp.uint32)
        rows, size = self.pairs[...], len(self.pairs)
        if size < len(self.codes[0]) * len(self.codes[1]):
            number = (number * jnp.uint32(_HASH)) >> jnp.uint32(7)
        return vectors + rows[number % jnp.uint32(size)]

    def _of_content(self, catalog: Catalog, rows: jax.Array | None, key: jax.Array | None) -> jax.Array:
        assert catalog.content is not None  # This component exists only with content vectors.
        content = _chosen(catalog.content, rows)
        if self.hidden is not None:
            content = dropout(gelu(self.hidden(content)), self.dropout, key)
        return matmul(content, self.content.kernel[...])


def _chosen(values: jax.Array, rows: jax.Array | None) -> jax.Array:
    return values if rows is None else values[rows]
