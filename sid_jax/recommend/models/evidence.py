"""The terms that are added to a model's scores of items: evidence that it need not have learned."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.config import TERMS
from sid_jax.recommend.data.blend import Blend

# How much less an item of the history counts than the one after it, and how many of the last ones count at all:
# what goes before them weighs less than .65 ** 20. Chosen as the constants of `Blend`.
_TRANSITIONS_DECAY, _CONTENT_DECAY, _LAST_ITEMS = 0.65, 0.8, 20


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Evidence:
    """What terms of N items are computed from; None where a term is not there.

    Attributes:
      weights, followers, strengths: as of `Blend`.
      profiles: `[N, d]` float32, projected content of length 1; 0 for an item that has none.
      log_popularity: `[N]` float32, log(1 + interactions in training).
    """

    weights: jax.Array
    followers: jax.Array | None
    strengths: jax.Array | None
    profiles: jax.Array | None
    log_popularity: jax.Array | None

    @classmethod
    def of(cls, blend: Blend, content: np.ndarray | None, popularity: np.ndarray) -> Evidence:
        """Returns a blend's evidence for items with content vectors `[N, D]` and counts `[N]`."""
        profiles = None
        if blend.projection is not None and content is not None:
            projected = np.nan_to_num(content) @ blend.projection
            lengths = np.linalg.norm(projected, axis=1, keepdims=True)
            profiles = jnp.asarray(projected / np.maximum(lengths, np.finfo(np.float32).tiny))
        return cls(
            jnp.asarray(blend.weights),
            None if blend.followers is None else jnp.asarray(blend.followers),
            None if blend.strengths is None else jnp.asarray(blend.strengths),
            profiles,
            jnp.asarray(np.log1p(popularity), jnp.float32) if blend.popularity else None,
        )


def blended(scores: jax.Array, histories: HistoryBatch, evidence: Evidence) -> jax.Array:
    """Returns the weighted sum of the model's scores and the terms, `[B, N]` float32.

    Args:
      scores: `[B, N]`, the model's.
      histories: B of them.
      evidence: of the catalog.
    """
    weights = evidence.weights
    added = [weight * term for weight, term in zip(weights[1:], terms(histories, evidence).values(), strict=True)]
    return functools.reduce(jnp.add, added, weights[0] * scores)


def terms(histories: HistoryBatch, evidence: Evidence) -> dict[str, jax.Array]:
    """Returns the terms that are there by name, each `[B, N]` or `[1, N]` float32; arguments as of `blended`."""
    found: dict[str, jax.Array] = {}
    transitions, content, popularity = TERMS
    if evidence.followers is not None and evidence.strengths is not None:
        found[transitions] = _transitions(histories, evidence.followers, evidence.strengths)
    if evidence.profiles is not None:
        found[content] = _content(histories, evidence.profiles)
    if evidence.log_popularity is not None:
        found[popularity] = evidence.log_popularity[None]
    return found


def _transitions(histories: HistoryBatch, followers: jax.Array, strengths: jax.Array) -> jax.Array:
    """Returns log(1 + N * share), `[B, N]`, of each item's share of all that the last items speak for."""
    last, weights = _last_items(histories, _TRANSITIONS_DECAY)
    size, num_items = len(last), len(followers)
    heard = (weights[..., None] * strengths[last]).reshape(size, -1)
    rows = jnp.arange(size)[:, None]
    sums = jnp.zeros((size, num_items)).at[rows, followers[last].reshape(size, -1)].add(heard, mode="drop")
    total = jnp.sum(heard, axis=1, keepdims=True)
    return jnp.log1p(num_items * sums / jnp.where(total > 0, total, 1.0))


def _content(histories: HistoryBatch, profiles: jax.Array) -> jax.Array:
    """Returns the cosine `[B, N]` between the sum of the last items' content and each item's."""
    last, weights = _last_items(histories, _CONTENT_DECAY)
    user = jnp.einsum("bw,bwd->bd", weights, profiles[last])
    length = jnp.linalg.norm(user, axis=1, keepdims=True)
    return (user / jnp.where(length > 0, length, 1.0)) @ profiles.T


def _last_items(histories: HistoryBatch, decay: float) -> tuple[jax.Array, jax.Array]:
    """Returns the last items of histories, the last one first, and their weights, 0 where there is none: `[B, w]`."""
    width = min(_LAST_ITEMS, histories.items.shape[1])
    age = jnp.arange(width)[None]
    places = histories.lengths[:, None] - 1 - age
    weights = jnp.where(places >= 0, jnp.float32(decay) ** age, 0.0)
    return jnp.take_along_axis(histories.items, jnp.maximum(places, 0), axis=1), weights
