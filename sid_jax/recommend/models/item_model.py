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
        """Returns what the model knows of the items, a pytree of arrays `[N, ...]`: computed once for many requests."""
        ...

    def read(self, histories: HistoryBatch, vectors: Any) -> Any:
        """Returns what is known after each history, a pytree of arrays `[B, ...]`.

        Args:
          histories: B of them.
          vectors: as `item_vectors` gives them.
        """
        ...

    def scores(self, known: Any, vectors: Any) -> jax.Array:
        """Returns scores `[B, n]` float32; a softmax over all that may be recommended gives the items' probabilities.

        Args:
          known: as `read` gives it.
          vectors: of the n items to be scored, rows of what `item_vectors` gives.
        """
        ...
