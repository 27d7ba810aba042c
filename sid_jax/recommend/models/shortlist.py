"""Recommendation lists from a large catalog on a CPU: a shortlist by approximate scores, then exact scores.

The approximate scores are computed from the coordinates of the items' vectors on a few principal directions. An item
has fewer coordinates than its vector has features, so approximate scores take less time than exact scores.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.models.catalog import Catalog, candidate_mask
from sid_jax.recommend.models.evidence import Evidence, Heard, blended_at, hear
from sid_jax.recommend.models.item_model import ItemModel
from sid_jax.recommend.models.layers import MASKED

# Number of principal directions of the items' vectors. With 64 directions for vectors of 256 features, a shortlist of
# 256 out of 12,101 items contains on average .9999 of the ten best items (docs/serving.md).
_FEATURES = 64
# Size of a group of adjacent items. Top-k compares only the best score of each group, and thus 1/16 of all scores.
_GROUP = 16
# Number of items scored together: their scores must fit into a CPU's cache.
_BLOCK = 4096
# The shortlist has at least `_LENGTH` items, and at least `_MULTIPLE` times as many items as the list.
_LENGTH, _MULTIPLE = 256, 4
# For lists longer than this, all items get exact scores.
MOST_LISTED = 1024


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shortlist:
    """Vectors of the items in the space of their principal directions, for N items padded to M.

    An item's vector here, `[E]`, is the concatenation of two vectors: the sum of the item's components, `[F]`, and the
    vector that the blend compares with the content of the history, `[d]`.

    Attributes:
      basis: `[E, r]`, principal directions of the vectors.
      rows: `[M, r]`, the items' coordinates.
      offset: `[M]`, the part of an item's score that does not depend on the history: popularity, and `MASKED` for an
        item that may not be recommended.
      mean: `[E]`, mean of the vectors of items that may be recommended.
      rest: `[E, E]`, covariance of the residuals; here, a residual is a vector minus its projection onto the basis.
    """

    basis: jax.Array
    rows: jax.Array
    offset: jax.Array
    mean: jax.Array
    rest: jax.Array


@jax.jit
def make_shortlist(catalog: Catalog, vectors: jax.Array) -> Shortlist:
    """Computes the principal directions of the vectors of a catalog's items `[N, F]`, and the items' coordinates."""
    rows, evidence = vectors.astype(jnp.float32), catalog.evidence
    mask = offset = candidate_mask(catalog)
    if evidence is not None:
        if evidence.profiles is not None:
            rows = jnp.concatenate([rows, evidence.profiles], axis=1)
        if evidence.log_popularity is not None:
            offset = offset + evidence.weight("popularity") * evidence.log_popularity
    # The mean and covariance are over the items that may be recommended, since other items have no score.
    rows, number = jnp.where(mask[:, None] == 0, rows, 0.0), jnp.sum(mask == 0)
    mean = jnp.sum(rows, axis=0) / number
    covariance = rows.T @ rows / number - jnp.outer(mean, mean)
    spreads, directions = jnp.linalg.eigh(covariance)
    basis = directions[:, -_FEATURES:]
    kept = (basis * spreads[None, -_FEATURES:]) @ basis.T
    room = -len(rows) % _BLOCK
    coordinates = jnp.pad(rows @ basis - (mean @ basis)[None], ((0, room), (0, 0)))
    return Shortlist(basis, coordinates, jnp.pad(offset, (0, room), constant_values=MASKED), mean, covariance - kept)


def best_of_shortlist(
    model: ItemModel, histories: HistoryBatch, catalog: Catalog, vectors: jax.Array, shortlist: Shortlist, count: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the best items of a shortlist by their exact scores, `[B, count]`, and their log-probabilities.

    The shortlist has the best items by approximate scores, and the items that most often follow the history's last
    items in the training data. Shorter lists are padded with -1. The normalizer of the log-probabilities, a sum over
    all items, is an estimate that assumes normally distributed residuals.

    Args:
      model: a model whose scores are inner products of a hidden state `[B, F]` with the items' vectors.
      histories: B histories.
      catalog: the catalog.
      vectors: `[N, F]`, the items' sums of components.
      shortlist: the result of `make_shortlist` for the same catalog and vectors.
      count: number of items; static.
    """
    known, evidence = model.read(histories, vectors), catalog.evidence
    heard = Heard(None, None, None) if evidence is None else hear(histories, evidence)
    query = _query(known, heard, evidence)
    near, mask = query @ shortlist.basis, candidate_mask(catalog)
    maxima, total = _maxima_of_groups(near, shortlist)
    length = max(_LENGTH, _MULTIPLE * count)
    # The best `length / 2` items by approximate scores are all in the `length / 2` groups with the highest maxima.
    groups = jax.lax.top_k(maxima, length // 2)[1]

    def best(user: tuple[jax.Array, jax.Array, Heard, jax.Array]) -> tuple[jax.Array, ...]:
        hidden, coordinates, own, chosen = user
        members = (chosen[:, None] * _GROUP + jnp.arange(_GROUP)[None]).ravel()
        items = members[jax.lax.top_k(_by_coordinates(coordinates, shortlist, members), length)[1]]
        shares = jnp.zeros(len(vectors))
        if own.followers is not None and own.shares is not None:
            shares = shares.at[own.followers].add(own.shares, mode="drop")
            items = jnp.concatenate([items, _strongest(own.followers, shares, length)])
        valid = _is_first(items, len(shortlist.rows)) & (items < len(vectors))
        items = jnp.minimum(items, len(vectors) - 1)
        scores = model.scores(hidden[None], vectors[items])[0]
        if evidence is not None:
            scores = blended_at(scores, own, evidence, shares[items], items)
        scores = jnp.where(valid, scores + mask[items], 2 * MASKED)
        replaced = jnp.where(valid, _by_coordinates(coordinates, shortlist, items), 2 * MASKED)
        points, places = jax.lax.top_k(scores, count)
        found = jnp.where(points > MASKED / 2, items[places], -1)
        return found, points, jax.nn.logsumexp(scores), jax.nn.logsumexp(replaced)

    # Users are processed one at a time, so that an array over all items stays in a CPU's cache.
    items, scores, exact, replaced = jax.lax.map(best, (known, near, heard, groups))
    # `level` is the score of the mean vector plus half the variance of the residuals' scores. It is added to the
    # approximate scores of all items that are not in the shortlist.
    level = query @ shortlist.mean + 0.5 * jnp.sum((query @ shortlist.rest) * query, axis=1)
    others = total + jnp.log1p(-jnp.exp(jnp.minimum(replaced - total, -1e-6)))
    return items, scores - jnp.logaddexp(others + level, exact)[:, None]


def _query(known: jax.Array, heard: Heard, evidence: Evidence | None) -> jax.Array:
    """Returns queries `[B, E]`; their products with items' vectors are scores without transitions and popularity."""
    if evidence is None:
        return known.astype(jnp.float32)
    query = evidence.weights[0] * known.astype(jnp.float32)
    if heard.profile is None:
        return query
    return jnp.concatenate([query, evidence.weight("content") * heard.profile], axis=1)


def _maxima_of_groups(near: jax.Array, shortlist: Shortlist) -> tuple[jax.Array, jax.Array]:
    """Returns each group's best approximate score, `[B, M / 16]`, and the logsumexp of all items' scores, `[B]`."""

    def of_block(first: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows, offset = (
            jax.lax.dynamic_slice_in_dim(each, first, _BLOCK) for each in (shortlist.rows, shortlist.offset)
        )
        scores = near @ rows.T + offset[None]
        maxima = jnp.max(scores.reshape(len(near), _BLOCK // _GROUP, _GROUP), axis=2)
        return maxima, jax.nn.logsumexp(scores, axis=1)

    maxima, totals = jax.lax.map(of_block, jnp.arange(0, len(shortlist.rows), _BLOCK))
    return jnp.moveaxis(maxima, 0, 1).reshape(len(near), -1), jax.nn.logsumexp(totals, axis=0)


def _by_coordinates(coordinates: jax.Array, shortlist: Shortlist, items: jax.Array) -> jax.Array:
    return shortlist.rows[items] @ coordinates + shortlist.offset[items]


def _strongest(followers: jax.Array, shares: jax.Array, count: int) -> jax.Array:
    """Returns the items that most strongly follow a history's last items in the training data, at most `count`.

    Duplicates and padding come last.

    Args:
      followers: `[w * k]` int32, see `Heard`.
      shares: `[N]` float32, the sum of each item's shares (see `Heard`).
      count: maximum number of items; static.
    """
    found = shares.at[followers].get(mode="fill", fill_value=-1.0)
    strengths = jnp.where(_is_first(followers, len(shares)), found, -1.0)
    return followers[jax.lax.top_k(strengths, min(count, len(followers)))[1]]


def _is_first(items: jax.Array, size: int) -> jax.Array:
    """Returns a mask `[n]` bool that is True at one occurrence of each distinct item below `size`."""
    places = jnp.arange(len(items))
    return jnp.zeros(size, jnp.int32).at[items].set(places, mode="drop").at[items].get(mode="fill") == places
