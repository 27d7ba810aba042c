"""The ID table while IDs change, and the items of a batch: arrays of one shape whatever the IDs are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.recommend.data.packing import PackedRows
from sid_jax.recommend.models.catalog import cross_entropy
from sid_jax.recommend.models.layers import MASKED

_BITS = 32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CodeTable:
    """The codes of N items, and which codes follow each prefix, a bit a code.

    A trie's arrays are as long as it has nodes, and a program knows their lengths; here there is room for the most
    prefixes that there can be, N K / 8 bytes a level.

    Attributes:
      codes: `[N, L]` int32.
      prefixes: `[N, L]` int32, the number of an item's first l codes among the prefixes of that length.
      followers: L arrays `[min(N, K_1 ... K_l), ceil(K / 32)]` uint32: bit k of a prefix says whether k follows it.
    """

    codes: jax.Array
    prefixes: jax.Array
    followers: tuple[jax.Array, ...]


def build_code_table(codes: np.ndarray, sizes: Sequence[int]) -> CodeTable:
    """Returns the table of codes `[N, L]` int32; `sizes` are K of each level."""
    prefixes, followers = np.zeros_like(codes), []
    for level, size in enumerate(sizes):
        if level:
            prefixes[:, level] = np.unique(codes[:, :level], axis=0, return_inverse=True)[1].reshape(-1)
        room = min(len(codes), math.prod(sizes[:level]))
        bits = np.zeros((room, -(-size // _BITS)), np.uint32)
        code = codes[:, level]
        np.bitwise_or.at(bits, (prefixes[:, level], code // _BITS), np.uint32(1) << (code % _BITS).astype(np.uint32))
        followers.append(jnp.asarray(bits))
    return CodeTable(jnp.asarray(codes), jnp.asarray(prefixes), tuple(followers))


def allowed_codes(table: CodeTable, items: jax.Array, level: int, size: int) -> jax.Array:
    """Returns which of a level's K codes follow the prefixes of items: `[..., K]` bool, one row for all at the first.

    Args:
      table: of the IDs.
      items: `[...]` int32.
      level: static.
      size: K, static.
    """
    # The empty prefix is everybody's: one row for all.
    prefixes = table.prefixes[items, level] if level else jnp.zeros((1,) * items.ndim, jnp.int32)
    words = table.followers[level][prefixes][..., None]
    places = jnp.arange(_BITS, dtype=jnp.uint32).reshape((1,) * (words.ndim - 1) + (_BITS,))
    bits = (words >> places) & jnp.uint32(1)
    return bits.reshape(*prefixes.shape, -1)[..., :size].astype(bool)


def code_loss(logits: jax.Array, table: CodeTable, items: jax.Array, level: int) -> jax.Array:
    """Returns what `sid_jax.recommend.models.catalog.code_loss` does, `[...]`, of logits `[..., K]`."""
    allowed = allowed_codes(table, items, level, logits.shape[-1])
    return cross_entropy(jnp.where(allowed, logits.astype(jnp.float32), MASKED), table.codes[items, level])


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
