"""From an embedding table to items' embeddings, inside anyone's `jit`."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def embed_items(table: jax.Array, rows: jax.Array, *, mean: bool = False) -> jax.Array:
    """Returns the sum of each item's rows, or their mean.

    Args:
      table: `[R, E]`, the parameters.
      rows: `[..., W]` integers, as `ItemRows.padded` gives them; what is negative counts as nothing.
      mean: whether to divide by how many rows there are.

    Returns:
      `[..., E]`, zeros for an item without rows.
    """
    there = rows >= 0
    found = jnp.where(there[..., None], table[jnp.maximum(rows, 0)], 0)
    total = found.sum(axis=-2)
    return total / jnp.maximum(there.sum(axis=-1, keepdims=True), 1) if mean else total
