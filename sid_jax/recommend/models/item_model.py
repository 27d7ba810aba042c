"""The interface of a model that scores all items of a catalog directly, without generating their Semantic IDs."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.models.catalog import Catalog


@runtime_checkable
class ItemModel(Protocol):
    """A model that scores items. Models that generate IDs instead are `CodeModel`s."""

    def loss(self, batch: Any, catalog: Catalog, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Returns the loss `[1]`, summed over the targets, and the total weight of the targets.

        Args:
          batch: a batch of training examples, of the type that the model trains on.
          catalog: the catalog of the batch's items.
          key: PRNG key of dropout; None disables dropout.
        """
        ...

    def item_vectors(self, catalog: Catalog) -> Any:
        """Returns the model's representation of the items, arrays `[N, ...]` computed once for many requests."""
        ...

    def read(self, histories: HistoryBatch, vectors: Any) -> Any:
        """Returns the hidden state after each history, a pytree of arrays `[B, ...]`.

        Args:
          histories: B histories.
          vectors: the result of `item_vectors`.
        """
        ...

    def scores(self, known: Any, vectors: Any) -> jax.Array:
        """Returns scores `[B, n]` float32. A softmax of the scores of all candidate items gives the probabilities.

        Args:
          known: the result of `read`.
          vectors: the rows of the n items to score, taken from the result of `item_vectors`.
        """
        ...
