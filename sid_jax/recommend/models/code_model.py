"""What training and beam search ask of a model that generates Semantic IDs code by code."""

from __future__ import annotations

from typing import Any, Protocol

import jax

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.models.catalog import Catalog

# A pytree whose leaves have the axes [B, M, ...]: what a model knows of M beams.
Beams = Any


class CodeModel(Protocol):
    """A model that scores the next code of an ID, given a history and the codes before it."""

    def loss(self, batch: Any, catalog: Catalog, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Returns the cross-entropy of each level's codes, summed over the targets, `[L]`, and the targets' weight.

        Args:
          batch: of the examples that the model trains on.
          catalog: whose items the batch names.
          key: for dropout; None drops nothing.
        """
        ...

    def begin(self, histories: HistoryBatch, catalog: Catalog) -> tuple[Any, Beams]:
        """Reads the histories, once.

        Returns:
          What all beams of a user share, leading axis B, and what is known of one empty beam, leading axes `[B, 1]`.
        """
        ...

    def score(self, shared: Any, beams: Beams, level: int) -> tuple[jax.Array, Beams]:
        """Returns the logits `[B, M, K]` float32 of the next code, and the beams with what was computed kept."""
        ...

    def extend(self, beams: Beams, level: int, parents: jax.Array, codes: jax.Array) -> Beams:
        """Returns new beams: beam m is beam `parents[b, m]` followed by the code `codes[b, m]`, each `[B, M]`."""
        ...


def choose_beams(beams: Beams, parents: jax.Array) -> Beams:
    """Returns the beams `[B, M', ...]` that `parents` `[B, M']` names, from leaves `[B, M, ...]`."""
    return jax.tree.map(lambda leaf: jax.vmap(lambda row, chosen: row[chosen])(leaf, parents), beams)
