"""Back-off scores of cold items, computed under `jax.jit` from a model's predictions for its training items.

A model that was trained without an item has learned a prefix of the item's ID from other items, but hardly the last
codes. The model also predicts which warm items come next. The score of a cold item u after a history h combines the
probability of a prefix of u's ID with these predictions:

  score(u | h) = w log p(prefix of u | h) + log sum_i q(i | h) k(u | i)

w is a weight. p is the model's probability of a prefix of u's ID; for a model that scores items, p is the model's
probability of u among the cold items. q is a distribution over warm items. It is a mixture of two distributions: the
model's distribution over the next item, truncated to the most likely items, and a distribution over the items of the
history, in which later items have higher weights. k(u | i) is exp(b * cosine), where the cosine is between the content
vectors of u and i, and b is the sharpness. k is normalized over the cold items, so a warm item that is similar to many
cold items contributes little to each of them. The sum is the Nadaraya-Watson estimate of the distribution over cold
items.
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

# Number of users processed together, which limits memory: each user has a matrix of warm items by cold items.
_USERS_AT_ONCE = 8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BackOff:
    """Parameters of the back-off score; all except `prefix_levels` are traced by JAX.

    Attributes:
      sharpness: b, factor on the cosines.
      history_share: weight of the history's items in q.
      decay: the weight of an item of the history, relative to the weight of the item after it.
      prefix_weight: w, weight of the log-probability of a prefix of the ID.
      prefix_levels: number of codes of this prefix; static.
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
    """Returns the back-off score of each cold item, `[B, C]` float32, in the order of `cold.items`.

    Args:
      model: the trained model.
      histories: the histories of B users.
      known: the catalog of the model's training items.
      cold: the trie of the C cold items.
      content: `[N, D]` float32 vectors of length 1 of all items.
      back_off: parameters of the score.
      num_beams: number of IDs to which the model's distribution is truncated.
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
    """Returns the back-off score of each cold item, `[B, C]` float32, for a model that scores items.

    Args:
      model, histories, known, cold, content, back_off: see `cold_scores`.
      vectors: the result of the model's `item_vectors` for all items.
      num_best: number of warm items to which the model's distribution is truncated.
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
    """Returns log sum_i q(i) k(u | i) for each cold item u, `[B, C]` float32; the module docstring defines q and k.

    Args:
      items: `[B, M]` int32 row numbers of items.
      weights: `[B, M]` float32, q of each item; 0 for padding.
      content: `[N, D]` float32 vectors of length 1.
      cold: `[C]` int32 row numbers of items.
      sharpness: b.
    """

    def of_user(user: tuple[jax.Array, jax.Array]) -> jax.Array:
        rows, shares = user
        cosines = jnp.matmul(content[rows], content[cold].T, precision=jax.lax.Precision.HIGHEST)
        likeness = jax.nn.log_softmax(sharpness * cosines, axis=-1)
        return jax.nn.logsumexp(likeness, axis=0, b=shares[:, None])

    return jax.lax.map(of_user, (items, weights), batch_size=_USERS_AT_ONCE)


def prefix_scores(model: CodeModel, histories: HistoryBatch, known: Catalog, cold: Trie, num_levels: int) -> jax.Array:
    """Returns log p of a prefix of each cold item's ID, `[B, C]` float32, in the order of `cold.items`.

    Each level's softmax is over all K codes, since the ID of a cold item may have a prefix that no warm item has. All
    prefixes of the cold items are scored, without pruning. A prefix that several items share is scored only once.

    Args:
      model, histories, known, cold: see `cold_scores`.
      num_levels: number of codes of the prefix, from 0 to L; static.
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
    # For each item, `nodes` goes from the leaf up the trie, level by level, to the item's prefix of `num_levels` codes.
    nodes = _owners(cold.first_item, len(cold.items))
    for level in reversed(range(num_levels, len(cold.sizes))):
        nodes = _owners(cold.first_child[level], len(cold.codes[level]))[nodes]
    return totals[:, nodes]


def _expected(
    model: CodeModel, histories: HistoryBatch, known: Catalog, back_off: BackOff, num_beams: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the items `[B, M + W]` of the distribution q over warm items, and their probabilities.

    The items are the first item of each of the M generated IDs, followed by the W items of the history.
    """
    generated = beam_search(model, histories, known, num_beams)
    there = generated.leaves >= 0
    beams = known.trie.items[known.trie.first_item[jnp.maximum(generated.leaves, 0)]]
    expected = jax.nn.softmax(jnp.where(there, generated.scores, -jnp.inf), axis=1)
    return _with_history(beams, expected, histories, back_off)


def _with_history(
    items: jax.Array, expected: jax.Array, histories: HistoryBatch, back_off: BackOff
) -> tuple[jax.Array, jax.Array]:
    """Returns the model's items followed by the history's items, `[B, M + W]`, and their probabilities in q."""
    had = history_shares(histories.lengths, histories.items.shape[1], back_off.decay)
    share = back_off.history_share
    return (
        jnp.concatenate([items, histories.items], axis=1),
        jnp.concatenate([(1 - share) * expected, share * had], axis=1),
    )


def _owners(firsts: jax.Array, number: int) -> jax.Array:
    """Returns, for each index below `number`, the node v whose range `firsts[v] : firsts[v + 1]` contains the index."""
    return jnp.searchsorted(firsts, jnp.arange(number), side="right").astype(jnp.int32) - 1
