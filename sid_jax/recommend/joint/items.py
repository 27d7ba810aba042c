"""The items of a batch, each once: the quantizer sees an item as often as it is one, not as often as it is taken."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.recommend.data.packing import PackedRows

# The item of an empty place.
_NONE = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BatchItems:
    """The items of a batch of rows `[B, P]`, in U places, of which those left over hold the first item of all.

    Attributes:
      vectors: `[U, D]`.
      counted: `[U]` bool, False for a place that is left over.
      inputs, targets: `[B, P]` int32, the places of the batch's items.
    """

    vectors: jax.Array
    counted: jax.Array
    inputs: jax.Array
    targets: jax.Array


def most_items(examples: PackedRows, batch_size: int) -> int:
    """Returns U, the most items that a batch of so many rows can have."""
    sides = np.stack([examples.inputs, examples.targets], axis=1)
    items = np.sort(np.where(examples.segments[:, None] > 0, sides, _NONE).reshape(len(sides), -1), axis=1)
    a_row = int((np.diff(items, axis=1) > 0).sum(axis=1).max()) + 1
    return min(a_row * batch_size, len(np.unique(items)))


def items_of(batch: PackedRows, vectors: jax.Array, size: int) -> BatchItems:
    """Returns the items of a batch, at most `size` (static), with their vectors out of `[N, D]`."""
    taken = jnp.where(batch.segments > 0, jnp.stack([batch.inputs, batch.targets]), _NONE)
    rows, places = jnp.unique(taken, size=size, fill_value=_NONE, return_inverse=True)
    inputs, targets = places.reshape(taken.shape).astype(jnp.int32)
    return BatchItems(vectors[jnp.maximum(rows, 0)], rows != _NONE, inputs, targets)
