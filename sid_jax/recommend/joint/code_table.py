"""The ID table during joint training, and the items of a batch: arrays whose shapes do not depend on the IDs."""

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
    """The codes of N items, and bit masks of the codes that follow each prefix.

    The shapes of a trie's arrays depend on its number of nodes, so new IDs would need another compilation. The arrays
    here are large enough for the maximum number of prefixes. The masks take at most about N K / 8 bytes per level.

    Attributes:
      codes: `[N, L]` int32.
      prefixes: `[N, L]` int32. Column l (from 0) has the index of each item's prefix among all prefixes of l codes.
      followers: L arrays uint32. Array l (from 0) has one row of bits for each prefix of l codes, and the shape
        `[min(N, K_1 ... K_l), ceil(K / 32)]`. Bit k of a row is set if code k follows the prefix.
    """

    codes: jax.Array
    prefixes: jax.Array
    followers: tuple[jax.Array, ...]


def build_code_table(codes: np.ndarray, sizes: Sequence[int]) -> CodeTable:
    """Builds the table from the items' codes, `[N, L]` int32; `sizes` has K of each level."""
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
    """Returns masks `[..., K]` bool of the codes that follow each item's prefix; at level 0, one mask for all items.

    Args:
      table: the table of the IDs.
      items: `[...]` int32.
      level: the level of the codes; static.
      size: K; static.
    """
    # At level 0, all items have the empty prefix, so one row is enough.
    prefixes = table.prefixes[items, level] if level else jnp.zeros((1,) * items.ndim, jnp.int32)
    words = table.followers[level][prefixes][..., None]
    places = jnp.arange(_BITS, dtype=jnp.uint32).reshape((1,) * (words.ndim - 1) + (_BITS,))
    bits = (words >> places) & jnp.uint32(1)
    return bits.reshape(*prefixes.shape, -1)[..., :size].astype(bool)


def code_loss(logits: jax.Array, table: CodeTable, items: jax.Array, level: int) -> jax.Array:
    """Returns the cross-entropy of items' codes, `[...]`, from logits `[..., K]`.

    It is the same loss as `sid_jax.recommend.models.catalog.code_loss`.
    """
    allowed = allowed_codes(table, items, level, logits.shape[-1])
    return cross_entropy(jnp.where(allowed, logits.astype(jnp.float32), MASKED), table.codes[items, level])


# The item number that marks an empty position.
_NONE = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BatchItems:
    """The distinct items of a batch of rows `[B, P]`, padded to U items with the catalog's first item.

    Attributes:
      vectors: `[U, D]`, the items' input vectors.
      counted: `[U]` bool, False for padding.
      inputs, targets: `[B, P]` int32, indices of the batch's items in `vectors`.
    """

    vectors: jax.Array
    counted: jax.Array
    inputs: jax.Array
    targets: jax.Array


def most_items(examples: PackedRows, batch_size: int) -> int:
    """Returns U, an upper bound on the number of distinct items in a batch of `batch_size` rows."""
    sides = np.stack([examples.inputs, examples.targets], axis=1)
    items = np.sort(np.where(examples.segments[:, None] > 0, sides, _NONE).reshape(len(sides), -1), axis=1)
    a_row = int((np.diff(items, axis=1) > 0).sum(axis=1).max()) + 1
    return min(a_row * batch_size, len(np.unique(items)))


def items_of(batch: PackedRows, vectors: jax.Array, size: int) -> BatchItems:
    """Returns the distinct items of a batch, padded to `size` (static). `vectors` `[N, D]` are all items' vectors."""
    taken = jnp.where(batch.segments > 0, jnp.stack([batch.inputs, batch.targets]), _NONE)
    rows, places = jnp.unique(taken, size=size, fill_value=_NONE, return_inverse=True)
    inputs, targets = places.reshape(taken.shape).astype(jnp.int32)
    return BatchItems(vectors[jnp.maximum(rows, 0)], rows != _NONE, inputs, targets)
