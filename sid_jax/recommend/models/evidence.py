"""Terms of the blend, which are added to a model's scores of items: transitions, content similarity and popularity.

The evidence is the data from which the terms are computed.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.config import TERMS
from sid_jax.recommend.data.blend import Blend

# In the terms "transitions" and "content", the weight of an item of the history is the term's decay times the weight of
# the item after it. Both terms use only the last 20 items. In "transitions", an older item would have at most .65 ** 20
# of the last item's weight. These three constants were chosen on the validation data of Amazon Beauty and
# MovieLens-100K.
_TRANSITIONS_DECAY, _CONTENT_DECAY, _LAST_ITEMS = 0.65, 0.8, 20


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Evidence:
    """The data of the blend's terms for N items. The data of unused terms are None.

    Attributes:
      weights, followers, strengths: see `Blend`.
      profiles: `[N, d]` float32, projected content of length 1, zeros for an item without content.
      log_popularity: `[N]` float32, log(1 + interactions in training).
      num_items: float32 scalar, the number of items, not counting padding.
    """

    weights: jax.Array
    followers: jax.Array | None
    strengths: jax.Array | None
    profiles: jax.Array | None
    log_popularity: jax.Array | None
    num_items: jax.Array

    @classmethod
    def of(cls, blend: Blend, content: np.ndarray | None, popularity: np.ndarray) -> Evidence:
        """Returns a blend's evidence for items with content vectors `[N, D]` and interaction counts `[N]`."""
        profiles = None
        if blend.projection is not None and content is not None:
            projected = np.nan_to_num(content) @ blend.projection
            lengths = np.linalg.norm(projected, axis=1, keepdims=True)
            profiles = projected / np.maximum(lengths, np.finfo(np.float32).tiny)
        log_popularity = np.log1p(popularity).astype(np.float32) if blend.popularity else None

        def there(array: np.ndarray | None) -> jax.Array | None:
            # `device_put` is used, since `jnp.asarray` would compile a conversion for each shape.
            return None if array is None else jax.device_put(array)

        return cls(
            jax.device_put(blend.weights),
            there(blend.followers),
            there(blend.strengths),
            there(profiles),
            there(log_popularity),
            jax.device_put(np.float32(len(popularity))),
        )

    def weight(self, term: str) -> jax.Array:
        """Returns the blend's weight of a term, which must be one of the used terms."""
        there = (self.followers is not None, self.profiles is not None, self.log_popularity is not None)
        used = [name for name, is_there in zip(TERMS, there, strict=True) if is_there]
        return self.weights[1 + used.index(term)]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Heard:
    """The data of the blend's terms for the last items of B histories. The data of unused terms are None.

    Attributes:
      followers: `[B, w * k]` int32, for each of the w last items its k followers: the items with the strongest
        transitions from this item. An item may be a follower of several last items.
      shares: `[B, w * k]` float32, the weight of the transition to each follower, divided by the sum of the history's
        transition weights, times N.
      profile: `[B, d]` float32, the weighted sum of the last items' content, scaled to length 1.
    """

    followers: jax.Array | None
    shares: jax.Array | None
    profile: jax.Array | None


def hear(histories: HistoryBatch, evidence: Evidence) -> Heard:
    """Computes the data of the blend's terms for the last items of histories."""
    followers = shares = profile = None
    if evidence.followers is not None and evidence.strengths is not None:
        last, weights = _last_items(histories, _TRANSITIONS_DECAY)
        said = (weights[..., None] * evidence.strengths[last]).reshape(last.shape[0], -1)
        total = jnp.sum(said, axis=1, keepdims=True)
        followers = evidence.followers[last].reshape(last.shape[0], -1)
        shares = said * (evidence.num_items / jnp.where(total > 0, total, 1.0))
    if evidence.profiles is not None:
        last, weights = _last_items(histories, _CONTENT_DECAY)
        profile = jnp.einsum("bw,bwd->bd", weights, evidence.profiles[last])
        length = jnp.linalg.norm(profile, axis=1, keepdims=True)
        profile = profile / jnp.where(length > 0, length, 1.0)
    return Heard(followers, shares, profile)


def blended(scores: jax.Array, heard: Heard, evidence: Evidence, first: jax.Array | int = 0) -> jax.Array:
    """Returns the weighted sum of the model's scores and the terms, `[B, n]` float32.

    Args:
      scores: `[B, n]`, the model's scores of n items, starting with item `first`.
      heard: the result of `hear` for the histories.
      evidence: evidence of the catalog.
      first: row of the first of the n items.
    """
    weights = evidence.weights
    added = terms(heard, evidence, first, scores.shape[1]).values()
    weighed = [weight * term for weight, term in zip(weights[1:], added, strict=True)]
    return functools.reduce(jnp.add, weighed, weights[0] * scores)


def blended_at(scores: jax.Array, heard: Heard, evidence: Evidence, shares: jax.Array, items: jax.Array) -> jax.Array:
    """Returns the blended scores of some items after one history, `[n]` float32.

    Args:
      scores: `[n]`, the model's scores.
      heard: the result of `hear` for the history, without a batch axis.
      evidence: evidence of the catalog.
      shares: `[n]`, the sum of each item's shares in `heard`.
      items: `[n]` int32 row numbers of the items.
    """
    blend = evidence.weights[0] * scores
    transitions, content, popularity = TERMS
    if heard.followers is not None:
        blend = blend + evidence.weight(transitions) * jnp.log1p(shares)
    if evidence.profiles is not None and heard.profile is not None:
        blend = blend + evidence.weight(content) * (evidence.profiles[items] @ heard.profile)
    if evidence.log_popularity is not None:
        blend = blend + evidence.weight(popularity) * evidence.log_popularity[items]
    return blend


def terms(heard: Heard, evidence: Evidence, first: jax.Array | int, count: int) -> dict[str, jax.Array]:
    """Returns the terms by name, `[B, n]` or `[1, n]` float32, for n = `count` items, starting with item `first`.

    `transitions` is log(1 + N * s), where N * s is the sum of the item's `shares` in `heard`. `content` is the cosine
    between the history's profile and the item's content. `popularity` is `log_popularity`.
    """
    found: dict[str, jax.Array] = {}
    transitions, content, popularity = TERMS
    if heard.followers is not None and heard.shares is not None:
        rows = jnp.arange(heard.shares.shape[0])[:, None]
        # Items before `first` must be out of bounds too, since a negative index would count from the end.
        places = jnp.where(heard.followers >= first, heard.followers - first, count)
        sums = jnp.zeros((heard.shares.shape[0], count)).at[rows, places].add(heard.shares, mode="drop")
        found[transitions] = jnp.log1p(sums)
    if evidence.profiles is not None and heard.profile is not None:
        found[content] = heard.profile @ jax.lax.dynamic_slice_in_dim(evidence.profiles, first, count).T
    if evidence.log_popularity is not None:
        found[popularity] = jax.lax.dynamic_slice_in_dim(evidence.log_popularity, first, count)[None]
    return found


def _last_items(histories: HistoryBatch, decay: float) -> tuple[jax.Array, jax.Array]:
    """Returns the last items of histories, the latest first, and their weights (0 for missing items): `[B, w]` each."""
    width = min(_LAST_ITEMS, histories.items.shape[1])
    age = jnp.arange(width)[None]
    places = histories.lengths[:, None] - 1 - age
    weights = jnp.where(places >= 0, jnp.float32(decay) ** age, 0.0)
    return jnp.take_along_axis(histories.items, jnp.maximum(places, 0), axis=1), weights
