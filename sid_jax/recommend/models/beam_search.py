"""Beam search over Semantic IDs in one compiled call, held to the IDs that exist by the prefix trie of their table."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sid_jax.ids.trie import Trie, children, leaf_items
from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.models.catalog import Catalog
from sid_jax.recommend.models.code_model import CodeModel
from sid_jax.recommend.models.layers import MASKED


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Generated:
    """What a beam search found, the best first.

    Attributes:
      semantic_ids: `[B, M, L]` int32.
      scores: `[B, M]` float32, log-probabilities of the IDs; -1e9 and below where there are fewer than M of them.
      leaves: `[B, M]` int32, the ID's number in the trie; -1 where there is none, or the search had no trie.
    """

    semantic_ids: jax.Array
    scores: jax.Array
    leaves: jax.Array


def beam_search(
    model: CodeModel,
    histories: HistoryBatch,
    catalog: Catalog,
    num_beams: int,
    *,
    constrained: bool = True,
) -> Generated:
    """Generates the `num_beams` likeliest IDs after each history.

    Constrained, the candidates of a beam are the children of its prefix in the trie, a gather from CSR arrays, so that
    no ID is ever generated that no item has. STATIC (2602.22647) masks all K logits by such arrays; here what does not
    exist is no candidate to begin with, and the choice is among fewer.

    Args:
      model: what scores the codes.
      histories: of B users.
      catalog: of the IDs that may be generated.
      num_beams: M.
      constrained: False lets every code follow every other, as a search without a table does.
    """
    trie = catalog.trie
    shared, beams = model.begin(histories, catalog)
    batch = histories.lengths.shape[0]
    scores = jnp.zeros((batch, 1))
    nodes = jnp.zeros((batch, 1), jnp.int32)
    generated = jnp.zeros((batch, 1, 0), jnp.int32)
    for level in range(len(trie.sizes)):
        logits, beams = model.score(shared, beams, level)
        if constrained:
            candidates, codes, real = children(trie, level, nodes)
            logits = jnp.where(real, jnp.take_along_axis(logits, codes, axis=-1), MASKED)
        else:
            codes = jnp.broadcast_to(jnp.arange(trie.sizes[level], dtype=jnp.int32), logits.shape)
            candidates, real = jnp.full_like(codes, -1), jnp.ones_like(codes, bool)
        totals = jnp.where(real, scores[..., None] + jax.nn.log_softmax(logits, axis=-1), MASKED)
        scores, best = jax.lax.top_k(_flat(totals), min(num_beams, _flat(totals).shape[1]))
        parents = best // totals.shape[2]
        chosen = jnp.take_along_axis(_flat(codes), best, axis=1)
        nodes = jnp.take_along_axis(_flat(candidates), best, axis=1)
        generated = jnp.concatenate(
            [jnp.take_along_axis(generated, parents[..., None], axis=1), chosen[..., None]], axis=-1
        )
        if level + 1 < len(trie.sizes):
            beams = model.extend(beams, level, parents, chosen)
    return Generated(generated, scores, jnp.where(scores > MASKED, nodes, -1))


def generated_items(generated: Generated, trie: Trie, count: int) -> jax.Array:
    """Returns the items under the generated IDs, `[B, count]` int32, the best first; -1 where there are no more.

    Several items under one ID each take a place of their own, in the trie's order.
    """
    return leaf_items(trie, generated.leaves, count)


def _flat(candidates: jax.Array) -> Any:
    return candidates.reshape(candidates.shape[0], -1)
