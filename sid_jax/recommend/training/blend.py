"""Builds a blend from training histories, and fits its weights to the validation targets by penalized likelihood.

A blend is the weighted sum of a scorer's score and of further terms, such as transitions, content and popularity.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from flax import nnx

from sid_jax.data.histories import Histories
from sid_jax.recommend.batch import HistoryBatch, user_numbers
from sid_jax.recommend.data.blend import NOBODY, Blend
from sid_jax.recommend.data.split import EvaluationExamples
from sid_jax.recommend.data.transitions import transition_graph
from sid_jax.recommend.models.catalog import Catalog, candidate_mask
from sid_jax.recommend.models.evidence import hear, terms
from sid_jax.recommend.models.layers import MASKED
from sid_jax.recommend.ranker import ModelRanker
from sid_jax.streams import stream_rng
from sid_jax.training.processes import gathered

# Parameters of the transition graph, chosen on the validation data of Amazon Beauty and MovieLens-100K together.
_GRAPH = {"gap_decay": 0.9, "back": 0.6, "from_power": 0.5, "to_power": 0.5, "next_bonus": 1.0}
# An item's followers are its neighbors in the transition graph. To limit memory, only the m strongest followers of each
# item are used. m is `_FOLLOWERS_OF_ALL` divided by the number of items, but at least 128 and at most 512.
_FOLLOWERS, _FOLLOWERS_OF_ALL = (128, 512), 2**21
# Maximum number of principal directions onto which content vectors are projected.
_MOST_FEATURES = 128
# The weights are fitted to the scores of a sample of users: at most `_MOST_USERS` users, and at most `_MOST_SCORES`
# scores of all these users together.
_MOST_USERS, _MOST_SCORES = 2048, 2**27
# Number of scores per compiled call, which limits memory.
_SCORES_AT_ONCE = 2**20
_MOST_ITERATIONS, _LEAST_GAIN = 20, 1e-5

# A batch: histories, targets, items excluded from the candidates, and the weight of each row.
_Batch = tuple[HistoryBatch, Any, Any, Any]


def make_blend(train: Histories, content: np.ndarray | None, chosen: tuple[str, ...]) -> Blend:
    """Builds a blend whose terms have weight 0.

    Args:
      train: training histories of N items.
      content: `[N, D]` float32 content vectors of length 1; None omits the term "content".
      chosen: the terms to use, out of `TERMS`.
    """
    followers = strengths = projection = None
    if "transitions" in chosen:
        most = int(np.clip(_FOLLOWERS_OF_ALL // len(train.item_ids), *_FOLLOWERS))
        followers, strengths = _strongest(transition_graph(train, **_GRAPH), most)
    if "content" in chosen and content is not None:
        projection = _principal(content, _MOST_FEATURES)
    blend = Blend(np.zeros(0, np.float32), followers, strengths, projection, "popularity" in chosen)
    return blend.weighed(np.eye(1 + len(blend.names), dtype=np.float32)[0])


def fit_blend(
    blend: Blend, ranker: ModelRanker, examples: EvaluationExamples, *, window: int, exclude_seen: bool
) -> Blend:
    """Fits the weights of a blend: maximizes the log-likelihood of the targets by Newton's method.

    The log-likelihood of a softmax is concave in the weights. A unit Gaussian prior, centered on weight 1 for the
    model's score and 0 for all terms, regularizes the weights if there are few users.

    Args:
      blend: the terms.
      ranker: the trained model. Its catalog must have the data of these terms (`catalog.evidence`), and its candidates
        must be items on which the model was trained.
      examples: histories and targets on which the model was not trained.
      window: maximum history length; older items are dropped.
      exclude_seen: whether items of a user's history are excluded from the candidates.
    """
    batches = _batches(ranker, examples, window, exclude_seen)
    start = weights = np.eye(len(blend.weights))[0]
    if not batches:
        return blend
    best, gradient, curvature = _objective(ranker, batches, weights, start)
    step = np.ones(0)
    for _ in range(_MOST_ITERATIONS):
        step = np.linalg.solve(curvature, gradient) if step.size == 0 else step / 2
        value, *derivatives = _objective(ranker, batches, weights + step, start)
        if value > best:
            gain, best, weights = value - best, value, weights + step
            gradient, curvature = derivatives
            step = np.ones(0)
            if gain < _LEAST_GAIN * abs(best):
                break
    return blend.weighed(weights)


def _strongest(graph: scipy.sparse.csr_array, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the columns and values `[N, k]` of each row's largest entries; k is at most `most`."""
    rows = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    order = np.lexsort((graph.indices, -graph.data, rows))
    place = np.arange(len(rows)) - graph.indptr[rows]
    kept = (place < most) & (graph.data[order] > 0)
    width = int(place[kept].max(initial=0)) + 1
    followers = np.full((graph.shape[0], width), NOBODY, np.int32)
    strengths = np.zeros((graph.shape[0], width), np.float32)
    followers[rows[kept], place[kept]] = graph.indices[order][kept]
    strengths[rows[kept], place[kept]] = graph.data[order][kept]
    return followers, strengths


def _principal(content: np.ndarray, most: int) -> np.ndarray:
    """Returns the projection `[D, d]` of content vectors onto their first principal directions, without centering."""
    features = content.shape[1]
    if features <= most:
        return np.eye(features, dtype=np.float32)
    _, directions = np.linalg.eigh(content.T @ content)
    return np.ascontiguousarray(directions[:, ::-1][:, :most], dtype=np.float32)


def _batches(ranker: ModelRanker, examples: EvaluationExamples, window: int, exclude_seen: bool) -> list[_Batch]:
    """Returns the users whose target may be recommended, or a sample of these users, in batches of equal shape."""
    catalog, histories = ranker.catalog, examples.histories
    candidates = np.asarray(catalog.trie.items)
    lengths = histories.lengths
    width = int(lengths.max(initial=1))
    seen, _ = histories.padded(np.arange(len(lengths)), width)
    seen = np.where((np.arange(width) < lengths[:, None]) & exclude_seen, seen, -1)
    usable = np.isin(examples.targets, candidates) & (seen != examples.targets[:, None]).all(axis=1)
    users = np.flatnonzero(usable)
    most = min(_MOST_USERS, max(1, _MOST_SCORES // len(candidates)))
    if len(users) > most:
        users = np.sort(stream_rng(0, "blend_users").choice(users, most, replace=False))
    size = int(np.clip(_SCORES_AT_ONCE // len(candidates), 1, 256))
    size = -(-size // ranker.mesh.size) * ranker.mesh.size
    batches = []
    for first in range(0, len(users), size):
        part = users[first : first + size]
        chosen = np.resize(part, size)
        items, counts = histories.padded(chosen, window)
        batch = (
            HistoryBatch(items, counts, user_numbers(histories.user_ids[chosen])),
            examples.targets[chosen].astype(np.int32),
            seen[chosen].astype(np.int32),
            (np.arange(size) < len(part)).astype(np.float32),
        )
        batches.append(ranker.shared_out(batch))
    return batches


def _objective(
    ranker: ModelRanker, batches: list[_Batch], weights: np.ndarray, start: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Returns the penalized log-likelihood, its gradient `[1 + T]`, and its negative Hessian `[1 + T, 1 + T]`.

    T is the number of terms of the blend.
    """
    sums = [
        _moments(ranker.graphdef, ranker.params, ranker.catalog, ranker.vectors, weights.astype(np.float32), *batch)
        for batch in batches
    ]
    value, gradient, curvature = (
        np.sum([gathered(each).astype(np.float64) for each in part], axis=0) for part in zip(*sums, strict=True)
    )
    away = weights - start
    return float(value - away @ away / 2), gradient - away, curvature + np.eye(len(weights))


@functools.partial(jax.jit, static_argnames="graphdef")
def _moments(
    graphdef: nnx.GraphDef[Any],
    params: nnx.State,
    catalog: Catalog,
    vectors: Any,
    weights: jax.Array,
    histories: HistoryBatch,
    targets: jax.Array,
    unwanted: jax.Array,
    counts: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    assert catalog.evidence is not None  # The ranker's catalog has the blend's terms.
    model: Any = nnx.merge(graphdef, params)
    scores = model.scores(model.read(histories, vectors), vectors)
    added = terms(hear(histories, catalog.evidence), catalog.evidence, 0, scores.shape[1]).values()
    features = jnp.stack([scores, *(jnp.broadcast_to(term, scores.shape) for term in added)])
    rows = jnp.arange(len(targets))
    masked = jnp.where(unwanted >= 0, unwanted, scores.shape[1])
    mask = jnp.zeros_like(scores).at[rows[:, None], masked].set(MASKED, mode="drop") + candidate_mask(catalog)[None]
    log_probabilities = jax.nn.log_softmax(jnp.tensordot(weights, features, 1) + mask)
    probabilities = jnp.exp(log_probabilities)
    expected = jnp.einsum("tbn,bn->tb", features, probabilities)
    centered = features - expected[:, :, None]
    weighed = centered * (probabilities * counts[:, None])[None]
    curvature = jnp.einsum("tbn,sbn->ts", weighed, centered)
    value = jnp.sum(counts * log_probabilities[rows, targets])
    return value, jnp.sum(counts[None] * centered[:, rows, targets], axis=1), curvature
