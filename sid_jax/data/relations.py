"""What histories say of the items, in the two forms that a loss may want."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from sid_jax.data.partners import Partners


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
