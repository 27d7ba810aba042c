"""What histories say of the items, in the two forms that a loss may want; and drawing partners in a compiled step."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

# Weights are whole numbers, so that sums of millions of them are exact: a pair of neighbors counts 6, a pair two apart
# 3, three apart 2.
_UNIT = 6.0
_LARGEST = 2**31 - 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Partners:
    """For each of N items the items that it is taken with, and how often: E pairs, item after item.

    Attributes:
      rows: `[E]` int32, the partners.
      ends: `[E]` int32, the sum of all pairs' weights up to this one's.
      bounds: `[N + 1]` int32: the sums of an item's pairs go on from `bounds[i]` to `bounds[i + 1]`.
    """

    rows: jax.Array | np.ndarray
    ends: jax.Array | np.ndarray
    bounds: jax.Array | np.ndarray

    @classmethod
    def of(cls, counts: sparse.csr_array) -> Partners:
        """Returns the pairs of `[N, N]` co-occurrence counts, as `data.collaborative.pair_counts` has them."""
        sums = np.cumsum(counts.data, dtype=np.float64)
        # The sums are rounded, not the weights: where the unit is small, each item still has its share of them.
        ends = np.rint(min(_UNIT, _LARGEST / sums[-1]) * sums).astype(np.int32)
        bounds = np.concatenate([[0], ends])[counts.indptr]
        return cls(counts.indices.astype(np.int32), ends, bounds.astype(np.int32))

    def among(self, kept: np.ndarray) -> Partners:
        """Returns the pairs as rows of the items that `[N]` bool keeps; the others must be in no pair."""
        new_row = np.cumsum(kept) - 1
        bounds = np.append(np.asarray(self.bounds)[:-1][kept], self.bounds[-1])
        return Partners(new_row[self.rows].astype(np.int32), self.ends, bounds)


def draw_partners(key: jax.Array, partners: Partners, items: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws a partner for each item, with a chance in proportion to how often they are taken together.

    Args:
      key: PRNG key.
      partners: with at least one pair.
      items: `[B]` int32.

    Returns:
      `[B]` int32, the item itself where it has none, and `[B]` bool, whether it has one.
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
    """Who belongs with whom, of N items.

    Attributes:
      partners: who is taken with whom, and how often; None if no loss wants it.
      collaborative: `[N, C]` float32, co-occurrence vectors, zeros for an item that has none; None if no loss wants
        them.
    """

    partners: Partners | None = None
    collaborative: jax.Array | np.ndarray | None = None

    def among(self, kept: np.ndarray) -> Relations:
        """Returns the relations of the items that `[N]` bool keeps; the others must have none."""
        return Relations(
            partners=self.partners and self.partners.among(kept),
            collaborative=None if self.collaborative is None else self.collaborative[kept],
        )
