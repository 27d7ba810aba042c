"""Row indices of items in an embedding table, and a sum of the rows that works inside `jit`."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class ItemRows:
    """For each of N items, the indices of its rows in an embedding table. An item may have several rows.

    Attributes:
      offsets: `[N + 1]` int64; item i has the rows `rows[offsets[i] : offsets[i + 1]]`.
      rows: int32, from 0 to R - 1 for a table of R rows.
    """

    offsets: np.ndarray
    rows: np.ndarray

    @classmethod
    def of_padded(cls, rows: np.ndarray) -> ItemRows:
        """Returns the `ItemRows` of an array `[N, W]`, in which negative entries are padding."""
        there = rows >= 0
        return cls(np.concatenate([[0], np.cumsum(there.sum(axis=1))]), rows[there].astype(np.int32))

    @classmethod
    def of_lists(cls, lists: list[list[int]]) -> ItemRows:
        """Returns the `ItemRows` of N lists of row indices."""
        offsets = np.concatenate([[0], np.cumsum([len(each) for each in lists], dtype=np.int64)])
        return cls(offsets, np.fromiter((row for each in lists for row in each), np.int32, offsets[-1]))

    def __len__(self) -> int:
        """Returns N."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """The number of rows of each item, `[N]` int64."""
        return np.diff(self.offsets)

    def of(self, item: int) -> np.ndarray:
        """Returns the rows of one item."""
        return self.rows[self.offsets[item] : self.offsets[item + 1]]

    def padded(self, width: int | None = None) -> np.ndarray:
        """Returns the rows as `[N, W]` int32, padded with -1; by default W is the maximum number of rows of an item.

        Raises:
          ValueError: if an item has more rows than `width`.
        """
        lengths = self.lengths
        most = int(lengths.max(initial=1))
        if width is not None and width < most:
            raise ValueError(f"an item has {most} rows, more than the width {width}; set a larger width")
        padded = np.full((len(self), most if width is None else width), -1, np.int32)
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = self.rows
        return padded


def embed_items(table: jax.Array, rows: jax.Array, *, mean: bool = False) -> jax.Array:
    """Returns the sum or the mean of each item's rows of an embedding table.

    Args:
      table: `[R, E]`, the embedding table.
      rows: `[..., W]` integers, from `ItemRows.padded`; negative entries are ignored.
      mean: whether to divide by the number of rows.

    Returns:
      `[..., E]`, zeros for an item without rows.
    """
    there = rows >= 0
    found = jnp.where(there[..., None], table[jnp.maximum(rows, 0)], 0)
    total = found.sum(axis=-2)
    return total / jnp.maximum(there.sum(axis=-1, keepdims=True), 1) if mean else total
