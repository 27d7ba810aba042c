"""The interface of a model that scores all items of a catalog directly, without generating their Semantic IDs."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.models.catalog import Catalog


@runtime_checkable
class ItemModel(Protocol):
    """A model that scores items. What generates IDs instead is a `CodeModel`."""

    def loss(self, batch: Any, catalog: Catalog, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Returns the loss of each of the model's outputs, summed over the targets, and the targets' weight.

        Args:
          batch: of the examples that the model trains on.
          catalog: whose items the batch names.
          key: for dropout; None drops nothing.
        """
        ...

    def item_vectors(self, catalog: Catalog) -> Any:
        """Returns what `scores` needs of the items, a pytree: it is computed once for many requests."""
        ...

    def scores(self, histories: HistoryBatch, catalog: Catalog, vectors: Any) -> jax.Array:
        """Returns scores `[B, N]` float32 of all items.

        A softmax over those that may be recommended gives the items' probabilities.
        """
        ...
