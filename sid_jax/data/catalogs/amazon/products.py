"""Amazon's products in memory: what they are, and who took what after what."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from sid_jax.data.histories import Histories

# What a product's text is made of, unless somebody asks for other columns.
TEXT_COLUMNS = ("title", "brand", "categories")


@dataclasses.dataclass(frozen=True, eq=False)
class Products:
    """N products and U users.

    Attributes:
      items: a row a product, in the order of `histories.item_ids`: `item_id` and columns that describe it.
      histories: users in the order of the reviews, each one's items in time order.
      source: one line that says where the data came from.
    """

    items: pa.Table
    histories: Histories
    source: str

    @property
    def item_ids(self) -> np.ndarray:
        """`[N]` object (str)."""
        return self.histories.item_ids
