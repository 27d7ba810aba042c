"""Do items with like vectors share prefixes?"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Items whose neighbors are looked for at a time.
_ITEMS_A_CALL = 1024


def nearest_items(vectors: np.ndarray, asked: np.ndarray, count: int) -> np.ndarray:
    """Returns the `count` items whose vectors have the largest cosine with each asked item's, itself left out.

    Args:
      vectors: `[N, D]` float32.
      asked: `[M]` rows.
      count: at most N - 1.

    Returns:
      `[M, count]` int32 rows, the nearest first.
    """
    directions = jnp.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
    found = []
    for first in range(0, len(asked), _ITEMS_A_CALL):
        rows = asked[first : first + _ITEMS_A_CALL]
        padded = np.pad(rows, (0, min(_ITEMS_A_CALL, len(asked)) - len(rows)), mode="edge")
        found.append(np.asarray(_nearest(directions, jnp.asarray(padded), count))[: len(rows)])
    return np.concatenate(found)


@functools.partial(jax.jit, static_argnames="count")
def _nearest(directions: jax.Array, rows: jax.Array, count: int) -> jax.Array:
    cosines = directions[rows] @ directions.T
    itself = jax.nn.one_hot(rows, directions.shape[0], dtype=bool)
    return jax.lax.top_k(jnp.where(itself, -jnp.inf, cosines), count)[1]


def neighbors_share_prefix(semantic_ids: np.ndarray, neighbors: np.ndarray, asked: np.ndarray) -> list[float]:
    """Returns for each depth the share of the neighbors that have the prefix of the item they are near to.

    Args:
      semantic_ids: `[N, L]`.
      neighbors: `[M, C]` rows, as from `nearest_items`.
      asked: `[M]` rows.
    """
    equal = semantic_ids[neighbors] == semantic_ids[asked][:, None]
    return np.logical_and.accumulate(equal, axis=-1).mean(axis=(0, 1)).tolist()
