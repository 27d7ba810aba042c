"""Co-occurrences of items as input of the losses, and sampling of co-occurring items (partners) in a compiled step."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy

# Weights are integers, so that sums of millions of them are exact. Each time that two items are 1, 2 or 3
# positions apart in a history, the weight of their pair grows by 6, 3 or 2.
_UNIT = 6.0
_LARGEST = 2**31 - 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Partners:
    """The co-occurring items (partners) of each of N items, with weights, as E pairs that are grouped by item.

    Attributes:
      rows: `[E]` int32, the row numbers of the partners.
      ends: `[E]` int32, the cumulative sums of the pairs' weights, each including the weight of the pair itself.
      bounds: `[N + 1]` int32: item i's pairs cover the range of sums from `bounds[i]` to `bounds[i + 1]`.
    """

    rows: jax.Array | np.ndarray
    ends: jax.Array | np.ndarray
    bounds: jax.Array | np.ndarray

    @classmethod
    def of(cls, counts: scipy.sparse.csr_array) -> Partners:
        """Returns the pairs of `[N, N]` co-occurrence counts from `data.collaborative.pair_counts`."""
        sums = np.cumsum(counts.data, dtype=np.float64)
        # If the total would exceed int32, the weights are scaled down. The cumulative sums are rounded, but the weights
        # are not, because every scaled weight below 0.5 would become 0.
        ends = np.rint(min(_UNIT, _LARGEST / sums[-1]) * sums).astype(np.int32)
        bounds = np.concatenate([[0], ends])[counts.indptr]
        return cls(counts.indices.astype(np.int32), ends, bounds.astype(np.int32))

    def among(self, kept: np.ndarray) -> Partners:
        """Returns the same pairs, with the items in the mask `kept` `[N]` bool renumbered from 0.

        Items outside the mask must have no pairs.
        """
        new_row = np.cumsum(kept) - 1
        bounds = np.append(np.asarray(self.bounds)[:-1][kept], self.bounds[-1])
        return Partners(new_row[self.rows].astype(np.int32), self.ends, bounds)


def draw_partners(key: jax.Array, partners: Partners, items: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws a partner for each item, with a probability proportional to the weight of the pair.

    Args:
      key: PRNG key.
      partners: the pairs, at least one.
      items: `[B]` int32.

    Returns:
      The row number of a partner of each item, `[B]` int32, and whether the item has a partner, `[B]` bool. For an item
      without a partner, the row number is the item's own.
    """
    bounds = jnp.asarray(partners.bounds)
    low, high = bounds[items], bounds[items + 1]
    found = high > low
    ticket = jax.random.randint(key, items.shape, low, jnp.where(found, high, low + 1))
    place = jnp.searchsorted(partners.ends, ticket, side="right")
    rows = jnp.asarray(partners.rows)[jnp.minimum(place, len(partners.rows) - 1)]
    return jnp.where(found, rows, items), found


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Relations:
    """Relations of N items from interaction histories.

    Attributes:
      partners: co-occurring items and their weights; None if no loss needs them.
      collaborative: `[N, C]` float32 co-occurrence vectors, zeros for an item without co-occurrences; None if no loss
        needs them.
    """

    partners: Partners | None = None
    collaborative: jax.Array | np.ndarray | None = None

    def among(self, kept: np.ndarray) -> Relations:
        """Returns the relations of the items that a mask `[N]` bool selects; the other items must have no partners."""
        return Relations(
            partners=self.partners and self.partners.among(kept),
            collaborative=None if self.collaborative is None else self.collaborative[kept],
        )
