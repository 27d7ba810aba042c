"""Beam search over Semantic IDs in one compiled call, constrained to existing IDs by a prefix trie."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sid_jax.ids.trie import Trie, allowed_codes, children, leaf_places
from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.models.catalog import Catalog
from sid_jax.recommend.models.code_model import CodeModel
from sid_jax.recommend.models.layers import MASKED


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Generated:
    """The IDs that a beam search generated for B users, the best first.

    Attributes:
      semantic_ids: `[B, M, L]` int32.
      scores: `[B, M]` float32, log-probabilities of the IDs; -1e9 or less where there are fewer than M IDs.
      leaves: `[B, M]` int32, the ID's leaf in the trie; -1 where there is no ID, or if the search was not constrained.
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
    """Generates the M most likely IDs after each history.

    In a constrained search, only existing IDs are generated: the candidates of a beam are the children of its prefix in
    the trie, which are gathered from CSR arrays. STATIC (2602.22647) also uses CSR arrays, but to mask all K logits;
    this search sorts only the scores of existing children.

    Args:
      model: the model that scores the codes.
      histories: the histories of B users.
      catalog: the catalog, whose trie holds the IDs that may be generated.
      num_beams: M.
      constrained: False allows every code after every prefix.
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


def generated_items(generated: Generated, trie: Trie, count: int) -> tuple[jax.Array, jax.Array]:
    """Returns the items that have the generated IDs, the best first, and the scores of their IDs.

    Items that share an ID follow each other in the trie's order.

    Returns:
      Items `[B, count]` int32, -1 after the last one; and scores `[B, count]` float32.
    """
    items, places = leaf_places(trie, generated.leaves, count)
    return items, jnp.take_along_axis(generated.scores, places, axis=1)


def score_leaves(model: CodeModel, histories: HistoryBatch, catalog: Catalog, leaves_at_once: int) -> jax.Array:
    """Returns the log-probability of each of the trie's n IDs, `[B, n]` float32, equal to its score in a beam search.

    Args:
      model: the model that scores the codes.
      histories: the histories of B users.
      catalog: the catalog, whose trie holds the IDs.
      leaves_at_once: number of IDs scored together, which bounds the memory; static.
    """
    trie = catalog.trie
    shared, start = model.begin(histories, catalog)
    batch, num_leaves = histories.lengths.shape[0], trie.first_item.shape[0] - 1
    size = min(leaves_at_once, num_leaves)
    chunks = jnp.arange(-(-num_leaves // size) * size, dtype=jnp.int32).reshape(-1, size)

    def of_chunk(leaves: jax.Array) -> jax.Array:
        items = trie.items[trie.first_item[jnp.minimum(leaves, num_leaves - 1)]]
        beams, totals = start, jnp.zeros((batch, size))
        for level in range(len(trie.sizes)):
            logits, beams = model.score(shared, beams, level)
            codes = jnp.broadcast_to(catalog.semantic_ids[items, level], (batch, size))
            allowed = allowed_codes(trie, level, catalog.prefixes[items, level])[None]
            scores = jax.nn.log_softmax(jnp.where(allowed, logits, MASKED), axis=-1)
            totals = totals + jnp.take_along_axis(scores, codes[..., None], axis=-1)[..., 0]
            if level + 1 < len(trie.sizes):
                parents = jnp.arange(size, dtype=jnp.int32) if level else jnp.zeros(size, jnp.int32)
                beams = model.extend(beams, level, jnp.broadcast_to(parents, (batch, size)), codes)
        return totals

    return jnp.swapaxes(jax.lax.map(of_chunk, chunks), 0, 1).reshape(batch, -1)[:, :num_leaves]


def _flat(candidates: jax.Array) -> Any:
    return candidates.reshape(candidates.shape[0], -1)
