"""An ensemble of scorers, trained together, whose scores are averaged."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.data.packing import PackedRows
from sid_jax.recommend.models.catalog import Catalog
from sid_jax.recommend.models.layers import split_key
from sid_jax.recommend.models.scorer import Scorer


class Ensemble(nnx.Module):
    """A deep ensemble (Lakshminarayanan et al., 1612.01474) of scorers that differ in their initial parameters.

    The mean of the members' inner products equals one inner product of concatenated vectors, so one matrix product
    scores all items.

    Args:
      members: M scorers of F features each.
    """

    def __init__(self, members: Sequence[Scorer]):
        self.members = nnx.List(members)

    def loss(self, batch: PackedRows, catalog: Catalog, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Returns the average `[1]` of the members' losses (see `Scorer.loss`), and the total weight of the targets."""
        keys = split_key(key, len(self.members))
        losses = [member.loss(batch, catalog, each) for member, each in zip(self.members, keys, strict=True)]
        return _average([loss for loss, _ in losses]), losses[0][1]

    def item_vectors(self, catalog: Catalog) -> jax.Array:
        """Returns the members' vectors of all items, concatenated: `[N, M * F]`."""
        return jnp.concatenate([member.item_vectors(catalog) for member in self.members], axis=1)

    def read(self, histories: HistoryBatch, vectors: jax.Array) -> jax.Array:
        """Returns the members' hidden states after each history, concatenated and divided by M: `[B, M * F]`."""
        known = [member.read(histories, own) for member, own in self._own(vectors)]
        return jnp.concatenate(known, axis=1) / len(self.members)

    def scores(self, known: jax.Array, vectors: jax.Array) -> jax.Array:
        """Returns the averages of the members' scores, `[B, n]` float32 (see `Scorer.scores`)."""
        return jnp.matmul(known, vectors.T, preferred_element_type=jnp.float32)

    def by_part(self, histories: HistoryBatch, catalog: Catalog, vectors: jax.Array) -> dict[str, jax.Array]:
        """Returns each component's contribution to all scores, averaged over the members (see `Scorer.by_part`)."""
        found = [member.by_part(histories, catalog, own) for member, own in self._own(vectors)]
        return {part: _average([each[part] for each in found]) for part in found[0]}

    def _own(self, vectors: jax.Array) -> list[tuple[Scorer, jax.Array]]:
        """Returns the members, each with its own vectors `[N, F]`."""
        return list(zip(self.members, jnp.split(vectors, len(self.members), axis=1), strict=True))


def _average(arrays: Sequence[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, arrays) / len(arrays)
