"""Scores of cold items, from what a model knows of the items that it was trained on, in compiled code.

A model that was trained without an item knows its ID's first codes, which other items have, and hardly its last. And it
knows which other items to expect. The score combines both, for a cold item u after a history h:

  score(u | h) = w log p(first codes of u | h) + log sum_i q(i | h) k(u | i)

p is the model's; of one that scores items it is p(u | h) among the cold ones, by their codes and content. q is what is
expected: over known items, the best of the model's distribution, and by a given share the history's own items, the last
counting most. k is what an item says of cold ones: exp(b cosine of their vectors),
divided by its sum over the cold items, so that an item that is like many says little of each. The sum is the
Nadaraya-Watson estimate of the distribution over cold items, from that over known ones.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sid_jax.ids.trie import Trie
from sid_jax.recommend.batch import HistoryBatch, history_shares
from sid_jax.recommend.models.beam_search import beam_search
from sid_jax.recommend.models.catalog import Catalog
from sid_jax.recommend.models.code_model import CodeModel
from sid_jax.recommend.models.item_model import ItemModel
from sid_jax.recommend.ranker import best_items, scores_of_items

# Users whose neighborhoods are in memory at once: each has a row of all cold items for each item expected.
_USERS_AT_ONCE = 8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BackOff:
    """How the two parts are put together; numbers that are traced, but for the levels.

    Attributes:
      sharpness: b.
      history_share: of q.
      decay: how much less an item of the history says than the one after it.
      prefix_weight: w.
      prefix_levels: how many first codes; static.
    """

    sharpness: float
    history_share: float
    decay: float
    prefix_weight: float
    prefix_levels: int = dataclasses.field(metadata={"static": True})


def cold_scores(
    model: CodeModel,
    histories: HistoryBatch,
    known: Catalog,
    cold: Trie,
    content: jax.Array,
    back_off: BackOff,
    num_beams: int,
) -> jax.Array:
    """Returns a score for each cold item, `[B, C]` float32, in the order of `cold.items`.

    Args:
      model: trained.
      histories: of B users.
      known: the items that the model was trained on.
      cold: the trie of the C others.
      content: `[N, D]` float32 vectors of length 1 of all items.
      back_off: how.
      num_beams: IDs that the model's distribution is cut off after.
    """
    items, weights = _expected(model, histories, known, back_off, num_beams)
    said = spread(items, weights, content, cold.items, back_off.sharpness)
    levels = min(back_off.prefix_levels, len(cold.sizes))
    return back_off.prefix_weight * prefix_scores(model, histories, known, cold, levels) + said


def cold_scores_of_items(
    model: ItemModel,
    histories: HistoryBatch,
    known: Catalog,
    vectors: Any,
    cold: Trie,
    content: jax.Array,
    back_off: BackOff,
    num_best: int,
) -> jax.Array:
    """Returns a score for each cold item, `[B, C]` float32, as `cold_scores`, of a model that scores items.

    Args:
      model, histories, known, cold, content, back_off: as of `cold_scores`.
      vectors: of all items, as the model's `item_vectors` gives them.
      num_best: known items that the model's distribution is cut off after.
    """
    best, scores = best_items(model, histories, known, vectors, min(num_best, known.trie.items.shape[0]))
    items, weights = _with_history(best, jax.nn.softmax(scores, axis=1), histories, back_off)
    among_cold = dataclasses.replace(known, trie=cold)
    own = scores_of_items(model, histories, among_cold, vectors)(0, len(content))[:, cold.items]
    said = spread(items, weights, content, cold.items, back_off.sharpness)
    return back_off.prefix_weight * jax.nn.log_softmax(own, axis=1) + said


def spread(
    items: jax.Array, weights: jax.Array, content: jax.Array, cold: jax.Array, sharpness: float | jax.Array
) -> jax.Array:
    """Returns log sum_i q(i) k(u | i) for each cold item, `[B, C]` float32.

    Args:
      items: `[B, M]` int32 rows.
      weights: `[B, M]` float32, q of each; 0 for a place that holds none.
      content: `[N, D]` float32 vectors of length 1.
      cold: `[C]` int32 rows.
      sharpness: b.
    """

    def of_user(user: tuple[jax.Array, jax.Array]) -> jax.Array:
        rows, shares = user
        cosines = jnp.matmul(content[rows], content[cold].T, precision=jax.lax.Precision.HIGHEST)
        likeness = jax.nn.log_softmax(sharpness * cosines, axis=-1)
        return jax.nn.logsumexp(likeness, axis=0, b=shares[:, None])

    return jax.lax.map(of_user, (items, weights), batch_size=_USERS_AT_ONCE)


def prefix_scores(model: CodeModel, histories: HistoryBatch, known: Catalog, cold: Trie, num_levels: int) -> jax.Array:
    """Returns log p of the first codes of each cold item's ID, `[B, C]` float32, in the order of `cold.items`.

    Each level's p is over all its K codes, since no one code is in question of an ID that nobody has had. All prefixes
    of the cold items are followed, none is cut off; items that share one share the work.

    Args:
      model, histories, known, cold: as of `cold_scores`.
      num_levels: static, from 0 to L.
    """
    shared, beams = model.begin(histories, known)
    totals = jnp.zeros((histories.lengths.shape[0], 1))
    for level in range(num_levels):
        logits, beams = model.score(shared, beams, level)
        parents, codes = _owners(cold.first_child[level], len(cold.codes[level])), cold.codes[level]
        totals = totals[:, parents] + jax.nn.log_softmax(logits, axis=-1)[:, parents, codes]
        if level + 1 < num_levels:
            everyone = (len(totals), len(codes))
            beams = model.extend(beams, level, jnp.broadcast_to(parents, everyone), jnp.broadcast_to(codes, everyone))
    # From each item's leaf up to its prefix of that many codes.
    nodes = _owners(cold.first_item, len(cold.items))
    for level in reversed(range(num_levels, len(cold.sizes))):
        nodes = _owners(cold.first_child[level], len(cold.codes[level]))[nodes]
    return totals[:, nodes]


def _expected(
    model: CodeModel, histories: HistoryBatch, known: Catalog, back_off: BackOff, num_beams: int
) -> tuple[jax.Array, jax.Array]:
    """Returns items `[B, M + W]` and q of each: of beams, the first item under each ID, and of the history."""
    generated = beam_search(model, histories, known, num_beams)
    there = generated.leaves >= 0
    beams = known.trie.items[known.trie.first_item[jnp.maximum(generated.leaves, 0)]]
    expected = jax.nn.softmax(jnp.where(there, generated.scores, -jnp.inf), axis=1)
    return _with_history(beams, expected, histories, back_off)


def _with_history(
    items: jax.Array, expected: jax.Array, histories: HistoryBatch, back_off: BackOff
) -> tuple[jax.Array, jax.Array]:
    """Returns expected items and those of the history, `[B, M + W]`, and the shares of both."""
    had = history_shares(histories.lengths, histories.items.shape[1], back_off.decay)
    share = back_off.history_share
    return (
        jnp.concatenate([items, histories.items], axis=1),
        jnp.concatenate([(1 - share) * expected, share * had], axis=1),
    )


def _owners(firsts: jax.Array, number: int) -> jax.Array:
    """Returns `[number]` int32: in which run `firsts[v] : firsts[v + 1]` each place is."""
    return jnp.searchsorted(firsts, jnp.arange(number), side="right").astype(jnp.int32) - 1
