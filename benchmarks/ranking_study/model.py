"""A small ranking model: predicts whether a user likes an item, from the item's features and the user's ratings."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ranking_study.ratings import Examples
from sid_jax.features.item_rows import embed_items
from sid_jax.models.mlp import MLP

_TRAIT_FEATURES = 4


class RatingModel(nnx.Module):
    """An MLP that predicts a like from embeddings of the item and of the items that the user has rated.

    Its inputs are the item's embedding, the mean embedding of the items that the user liked, the mean embedding of the
    items that the user disliked, the products of these two means with the item's embedding, and features of the user.
    The target item and the items of the user's history share the embedding table.

    Args:
      num_rows: number of rows of the embedding table; 0 if the inputs are vectors, for which there is no table.
      num_inputs: D, the number of features of a vector; not used with a table.
      features: E, the size of an embedding.
      trait_sizes: number of values of each user trait.
      hidden: widths of the network's layers.
      dropout: share of hidden activations dropped in training.
      initial_scale: initial standard deviation of the table's rows.
      rngs: random number generators of the parameters.
    """

    def __init__(
        self,
        *,
        num_rows: int,
        num_inputs: int,
        features: int,
        trait_sizes: Sequence[int],
        hidden: Sequence[int],
        dropout: float,
        initial_scale: float,
        rngs: nnx.Rngs,
    ):
        shape = (num_rows or num_inputs, features)
        # Vectors have a mean square of 1 per feature, so with this scale their embeddings have the variance of table
        # rows.
        scale = initial_scale if num_rows else initial_scale / num_inputs**0.5
        self.table = nnx.Param(scale * jax.random.normal(rngs.params(), shape))
        self.traits = nnx.List(
            nnx.Param(initial_scale * jax.random.normal(rngs.params(), (size, _TRAIT_FEATURES))) for size in trait_sizes
        )
        width = 5 * features + 2 + _TRAIT_FEATURES * len(trait_sizes)
        self.network = MLP((width, *hidden, 1), dropout=dropout, rngs=rngs)
        self.has_table = num_rows > 0

    def __call__(self, inputs: jax.Array | np.ndarray, asked: Examples, key: jax.Array | None = None) -> jax.Array:
        """Returns the log-odds of a like, `[B]`.

        Args:
          inputs: the features of the N items: `[N, W]` row numbers of the embedding table, or `[N, D]` vectors.
          asked: B ratings; `liked` is ignored.
          key: PRNG key of dropout; None disables dropout.
        """
        items = embed_items(self.table[...], jnp.asarray(inputs)) if self.has_table else inputs @ self.table[...]
        item = items[asked.items]
        past = items[jnp.maximum(asked.history, 0)]
        liked = _mean(past, asked.history_liked)
        disliked = _mean(past, (asked.history >= 0) & ~asked.history_liked)
        known = [table[...][asked.traits[:, place]] for place, table in enumerate(self.traits)]
        joined = jnp.concatenate([item, liked, disliked, item * liked, item * disliked, asked.figures, *known], axis=-1)
        return self.network(joined, key)[:, 0]


def _mean(past: jax.Array, chosen: jax.Array | np.ndarray) -> jax.Array:
    """Returns the mean of the chosen embeddings of `[B, H, E]`, zeros if none are chosen."""
    weights = chosen / jnp.maximum(chosen.sum(axis=1, keepdims=True), 1)
    return jnp.einsum("bh,bhe->be", weights, past)
