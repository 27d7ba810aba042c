"""A small ranker: the chance that a user likes an item, from what stands for it and what the user rated before."""

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
    """Embeddings of the item, of what the user liked and of what not, their products, and a network over them.

    The same embeddings serve the item that is asked for and those of the user's history, as a ranker's ids do.

    Args:
      num_rows: of the embedding table; 0 for vectors in its place.
      num_inputs: D of the vectors, where there is no table.
      features: E.
      trait_sizes: of the users' traits.
      hidden: widths of the network's layers.
      dropout: of hidden activations.
      initial_scale: spread of the table's rows.
      rngs: for all parameters.
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
        # Vectors have a mean square of 1 a feature; so their embeddings spread as rows do.
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
          inputs: what stands for the N items, `[N, W]` rows or `[N, D]` vectors.
          asked: B ratings; `liked` is not looked at.
          key: of the dropout; None drops nothing.
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
    """Returns the mean of the chosen ones of `[B, H, E]`, zeros where there are none."""
    weights = chosen / jnp.maximum(chosen.sum(axis=1, keepdims=True), 1)
    return jnp.einsum("bh,bhe->be", weights, past)
