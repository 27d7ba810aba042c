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
      users: `[B]` int32, a non-negative number for each user; two users may have the same number, but rarely.
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
          exclude: `[B, S]` int32 items that the list may not contain, -1 for none.

        Returns:
          `[B, k]` int32 row numbers in the catalog, the best first, without duplicates; -1 where there are no more.
        """
        ...


def history_shares(lengths: Array, window: int, decay: float | jax.Array) -> jax.Array:
    """Returns weights `[B, window]` float32 of histories' items that sum to 1; each is `decay` times the next weight.

    Args:
      lengths: `[B]` int32, the number of valid items, from the left.
      window: W.
      decay: above 0; 1 weighs all items equally.
    """
    age = jnp.asarray(lengths)[:, None] - 1 - jnp.arange(window)[None]
    weights = jnp.where(age >= 0, jnp.asarray(decay, jnp.float32) ** jnp.maximum(age, 0), 0.0)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def user_numbers(user_ids: np.ndarray) -> np.ndarray:
    """Returns `[U]` int32 for `[U]` user ids: a hash of the id's text, which is the same in every data set."""
    return np.array([zlib.crc32(str(user).encode()) & 0x7FFFFFFF for user in user_ids.tolist()], np.int32)
