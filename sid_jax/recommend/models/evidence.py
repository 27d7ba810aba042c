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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Heard:
    """What the last items of B histories say, by the terms that are there.

    Attributes:
      followers: `[B, w * k]` int32 items that the last items speak for.
      shares: `[B, w * k]` float32, each one's share of all that they say, times N.
      profile: `[B, d]` float32, the direction of the sum of their content.
    """

    followers: jax.Array | None
    shares: jax.Array | None
    profile: jax.Array | None


def hear(histories: HistoryBatch, evidence: Evidence) -> Heard:
    """Returns what the last items of histories say."""
    followers = shares = profile = None
    if evidence.followers is not None and evidence.strengths is not None:
        last, weights = _last_items(histories, _TRANSITIONS_DECAY)
        said = (weights[..., None] * evidence.strengths[last]).reshape(len(last), -1)
        total = jnp.sum(said, axis=1, keepdims=True)
        followers = evidence.followers[last].reshape(len(last), -1)
        shares = said * (len(evidence.followers) / jnp.where(total > 0, total, 1.0))
    if evidence.profiles is not None:
        last, weights = _last_items(histories, _CONTENT_DECAY)
        profile = jnp.einsum("bw,bwd->bd", weights, evidence.profiles[last])
        length = jnp.linalg.norm(profile, axis=1, keepdims=True)
        profile = profile / jnp.where(length > 0, length, 1.0)
    return Heard(followers, shares, profile)


def blended(scores: jax.Array, heard: Heard, evidence: Evidence, first: jax.Array | int = 0) -> jax.Array:
    """Returns the weighted sum of the model's scores and the terms, `[B, n]` float32.

    Args:
      scores: `[B, n]`, the model's, of the items from `first` on.
      heard: of the histories.
      evidence: of the catalog.
      first: the first item.
    """
    weights = evidence.weights
    added = terms(heard, evidence, first, scores.shape[1]).values()
    weighed = [weight * term for weight, term in zip(weights[1:], added, strict=True)]
    return functools.reduce(jnp.add, weighed, weights[0] * scores)


def terms(heard: Heard, evidence: Evidence, first: jax.Array | int, count: int) -> dict[str, jax.Array]:
    """Returns the terms by name, each `[B, n]` or `[1, n]` float32, of the n = `count` items from `first` on.

    `transitions` is log(1 + N * share), of an item's share of all that the last items say; `content` the cosine between
    the sum of the last items' content and the item's; `popularity` is `log_popularity`.
    """
    found: dict[str, jax.Array] = {}
    transitions, content, popularity = TERMS
    if heard.followers is not None and heard.shares is not None:
        rows = jnp.arange(len(heard.shares))[:, None]
        # Those before are out of bounds too: a negative place would count from the end.
        places = jnp.where(heard.followers >= first, heard.followers - first, count)
        sums = jnp.zeros((len(heard.shares), count)).at[rows, places].add(heard.shares, mode="drop")
        found[transitions] = jnp.log1p(sums)
    if evidence.profiles is not None and heard.profile is not None:
        found[content] = heard.profile @ jax.lax.dynamic_slice_in_dim(evidence.profiles, first, count).T
    if evidence.log_popularity is not None:
        found[popularity] = jax.lax.dynamic_slice_in_dim(evidence.log_popularity, first, count)[None]
    return found


def _last_items(histories: HistoryBatch, decay: float) -> tuple[jax.Array, jax.Array]:
    """Returns the last items of histories, the last one first, and their weights, 0 where there is none: `[B, w]`."""
    width = min(_LAST_ITEMS, histories.items.shape[1])
    age = jnp.arange(width)[None]
    places = histories.lengths[:, None] - 1 - age
    weights = jnp.where(places >= 0, jnp.float32(decay) ** age, 0.0)
    return jnp.take_along_axis(histories.items, jnp.maximum(places, 0), axis=1), weights
