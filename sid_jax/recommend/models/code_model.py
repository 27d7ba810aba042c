"""What training and beam search ask of a model that generates Semantic IDs code by code."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from sid_jax.recommend.batch import HistoryBatch

# A pytree whose leaves have the axes [B, M, ...]: what a model knows of M beams.
Beams = Any


class CodeModel(Protocol):
    """A model that scores the next code of an ID, given a history and the codes before it."""

    def loss(self, batch: Any, semantic_ids: jax.Array, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Returns the cross-entropy of each level, summed over the batch's targets, `[L]`, and the targets' weight.

        Args:
          batch: of the examples that the model trains on.
          semantic_ids: `[N, L]` int32, of the catalogue.
          key: for dropout; None drops nothing.
        """
        ...

    def begin(self, histories: HistoryBatch, semantic_ids: jax.Array) -> tuple[Any, Beams]:
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


def cross_entropy(logits: jax.Array, codes: jax.Array) -> jax.Array:
    """Returns -log softmax(logits)[code] in float32, `[...]`, from logits `[..., K]` and codes `[...]`."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, codes[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def choose_beams(beams: Beams, parents: jax.Array) -> Beams:
    """Returns the beams `[B, M', ...]` that `parents` `[B, M']` names, from leaves `[B, M, ...]`."""
    return jax.tree.map(lambda leaf: jax.vmap(lambda row, chosen: row[chosen])(leaf, parents), beams)
