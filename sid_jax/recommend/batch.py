"""A batch of interaction histories, the input of every recommender, and the protocol of recommenders."""

from __future__ import annotations

import dataclasses
import zlib
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

# `Array` is a NumPy array on the host, and a JAX array inside a compiled function.
Array = Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HistoryBatch:
    """A batch of B interaction histories.

    Attributes:
      items: `[B, W]` int32 row numbers in the catalog, the oldest first, left-aligned.
      lengths: `[B]` int32, the number of valid items, from 1 to W.
      users: `[B]` int32, a non-negative number for each user. Two users rarely have the same number.
    """

    items: Array
    lengths: Array
    users: Array


class Ranker(Protocol):
    """The protocol of all recommenders: models and baselines."""

    name: str

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the best items for each history.

        Args:
          batch: B histories, as NumPy arrays.
          count: k, the length of a list.
          exclude: `[B, S]` int32 items that the list may not contain, padded with -1.

        Returns:
          `[B, k]` int32 row numbers in the catalog, the best first, without duplicates; -1 where there are no more.
        """
        ...


def history_shares(lengths: Array, window: int, decay: float | jax.Array) -> jax.Array:
    """Returns the weights of each history's items, `[B, window]` float32.

    The weights of a history sum to 1. The weight of an item is `decay` times the weight of the item after it.

    Args:
      lengths: `[B]` int32, the number of valid items, from the left.
      window: W, the length to which histories are padded.
      decay: above 0; 1 weighs all items equally.
    """
    age = jnp.asarray(lengths)[:, None] - 1 - jnp.arange(window)[None]
    weights = jnp.where(age >= 0, jnp.asarray(decay, jnp.float32) ** jnp.maximum(age, 0), 0.0)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def user_numbers(user_ids: np.ndarray) -> np.ndarray:
    """Returns a number for each of U user ids, `[U]` int32: a hash of the id's text, the same in every data set."""
    return np.array([zlib.crc32(str(user).encode()) & 0x7FFFFFFF for user in user_ids.tolist()], np.int32)
