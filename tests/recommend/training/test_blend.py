"""The terms of a blend, and their weights, which are fitted to the validation data."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
import scipy.optimize
import scipy.special
from flax import nnx

from sid_jax.data.histories import Histories
from sid_jax.ids.table import IdTable
from sid_jax.recommend import ranker as ranker_module
from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.config import TERMS
from sid_jax.recommend.data.blend import NOBODY, Blend
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.data.split import EvaluationExamples
from sid_jax.recommend.data.transitions import transition_graph
from sid_jax.recommend.models.catalog import catalog_of
from sid_jax.recommend.models.evidence import Evidence, blended, hear, terms
from sid_jax.recommend.ranker import ModelRanker
from sid_jax.recommend.training.blend import fit_blend, make_blend
from sid_jax.training.sharding import all_devices

N = 30


def histories_of(*lists, num_items=N):
    offsets = np.cumsum([0, *map(len, lists)])
    return Histories(np.arange(len(lists)), offsets, np.concatenate(lists).astype(np.int32), np.arange(num_items))


def batch_of(*lists, window=6):
    items = np.zeros((len(lists), window), np.int32)
    for row, each in enumerate(lists):
        items[row, : len(each)] = each
    return HistoryBatch(items, np.array(list(map(len, lists)), np.int32), np.zeros(len(lists), np.int32))


def test_transitions_count_gaps_ways_back_and_popularity():
    train = histories_of([0, 1, 2], [0, 1], num_items=3)
    graph = transition_graph(train, gap_decay=0.5, back=0.25, from_power=1.0, to_power=0.5, next_bonus=3.0).toarray()
    # Item 1 comes directly after item 0 in two histories. Each of these transitions counts 1 plus the bonus 3. Items 0
    # and 1 have two interactions each.
    assert graph[0, 1] == pytest.approx(2 * (1 + 3) / 2 / 2**0.5)
    assert graph[0, 2] == pytest.approx(0.5 / 2 / 1)
    assert graph[2, 0] == pytest.approx(0.25 * 0.5 / 1 / 2**0.5)
    assert (np.diag(graph) == 0).all()


def test_terms_are_those_of_hand_arithmetic():
    content = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32)
    blend = Blend(
        np.array([0.5, 2, 3, 4], np.float32),
        np.array([[1, 2], [2, NOBODY], [NOBODY, NOBODY], [NOBODY, NOBODY]], np.int32),
        np.array([[3, 1], [2, 0], [0, 0], [0, 0]], np.float32),
        np.eye(2, dtype=np.float32),
        True,
    )
    evidence = Evidence.of(blend, content, np.array([7, 0, 1, 2]))
    heard = hear(batch_of([0, 1], [3]), evidence)
    found = {name: np.asarray(term) for name, term in terms(heard, evidence, 0, 4).items()}
    assert tuple(found) == TERMS
    # The history is 0, 1. Item 2 follows item 1 with strength 2. Items 1 and 2 follow item 0 with strengths 3 and 1,
    # which are multiplied by .65, since item 0 is not the last item.
    shares = np.array([0, 0.65 * 3, 2 + 0.65, 0]) / (2 + 0.65 * 4)
    np.testing.assert_allclose(found["transitions"], [np.log1p(4 * shares), [0] * 4], rtol=1e-6)
    user = np.array([0.8, 1]) / np.hypot(0.8, 1)
    np.testing.assert_allclose(found["content"], [[*user, user.sum() * 0.5**0.5, 0], [0] * 4], rtol=1e-6)
    np.testing.assert_allclose(found["popularity"], [np.log([8, 1, 2, 3])], rtol=1e-6)
    scores = np.arange(8, dtype=np.float32).reshape(2, 4)
    expected = 0.5 * scores + 2 * found["transitions"] + 3 * found["content"] + 4 * found["popularity"]
    np.testing.assert_allclose(blended(scores, heard, evidence), expected, rtol=1e-6)


class Noise(nnx.Module):
    """A model whose scores are random, but fixed."""

    def __init__(self):
        self.table = nnx.Param(jax.random.normal(jax.random.key(0), (N, N)))

    def loss(self, batch, catalog, key):
        raise NotImplementedError

    def item_vectors(self, catalog):
        return self.table[...]

    def read(self, histories, vectors):
        return histories.items[:, 0]

    def scores(self, known, vectors):
        return vectors.T[known]


@pytest.fixture(scope="module")
def fitted():
    """A blend before and after the fit, a function that makes a ranker with a blend, and the examples of the fit.

    In the histories, each item's number is 1 more than that of the item before it, modulo N. The model's scores are
    random.
    """
    random = np.random.default_rng(0)
    lists = [(start + np.arange(5)) % N for start in random.integers(N, size=200)]
    train = histories_of(*[each[:-1] for each in lists])
    # A tenth of the targets are random, so that the weights stay finite.
    targets = np.array([each[-1] for each in lists])
    targets = np.where(random.random(200) < 0.1, random.integers(N, size=200), targets).astype(np.int32)
    content = random.normal(size=(N, 4)).astype(np.float32)
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    ids = np.stack([np.arange(N) // 6, np.arange(N) % 6], axis=1).astype(np.int32)
    blend = make_blend(train, content, TERMS)
    popularity = np.bincount(train.items, minlength=N)
    candidates = Candidates.of(IdTable(np.arange(N), ids), popularity, np.zeros(N, bool), None, content)

    def ranker(blend):
        catalog = catalog_of(dataclasses.replace(candidates, blend=blend), candidates.trie)
        graphdef, params = nnx.split(Noise())
        return ModelRanker("noise", graphdef, params, catalog, num_beams=1, mesh=all_devices())

    examples = EvaluationExamples(train, targets, 0)
    return blend, fit_blend(blend, ranker(blend), examples, window=6, exclude_seen=True), ranker, examples


def test_what_follows_outweighs_a_model_that_knows_nothing(fitted):
    before, after, ranker, examples = fitted
    np.testing.assert_array_equal(before.weights, [1, 0, 0, 0])
    assert after.weights[1] > 0.5 > abs(after.weights[0])
    batch = batch_of(*[examples.histories.of(row) for row in range(200)])
    hits = [(each.recommend(batch, 1)[:, 0] == examples.targets).mean() for each in (ranker(before), ranker(after))]
    assert hits[0] < 0.2 and hits[1] > 0.8


def test_large_catalogs_are_scored_in_blocks_with_the_same_lists_and_scores(fitted, monkeypatch):
    _, after, ranker, examples = fitted
    batch = batch_of(*[examples.histories.of(row) for row in range(24)])
    found = []
    for size in (ranker_module._ITEMS_AT_ONCE, 16):
        monkeypatch.setattr(ranker_module, "_ITEMS_AT_ONCE", size)
        ranker_module._find.clear_cache()
        found.append(ranker(after).scored(batch, 3))
    ranker_module._find.clear_cache()
    np.testing.assert_array_equal(found[1][0], found[0][0])
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-5)


def test_the_weights_are_those_that_another_optimizer_finds(fitted):
    blend, after, ranker, examples = fitted
    asked = ranker(blend)
    batch = batch_of(*[examples.histories.of(row) for row in range(200)])
    scores = jax.nn.log_softmax(asked.vectors.T[batch.items[:, 0]])
    every = [scores, *terms(hear(batch, asked.catalog.evidence), asked.catalog.evidence, 0, N).values()]
    features = np.stack([np.broadcast_to(each, scores.shape) for each in every]).astype(np.float64)
    seen = np.zeros((200, N), bool)
    for row in range(200):
        seen[row, examples.histories.of(row)] = True
    asked_for = ~seen[np.arange(200), examples.targets]

    def minus_objective(weights):
        logits = np.where(seen, -np.inf, np.tensordot(weights, features, 1))
        logits = logits[asked_for]
        right = logits[np.arange(len(logits)), examples.targets[asked_for]]
        likelihood = (right - scipy.special.logsumexp(logits, axis=1)).sum()
        return -(likelihood - ((weights - [1, 0, 0, 0]) ** 2).sum() / 2)

    found = scipy.optimize.minimize(minus_objective, np.array([1.0, 0, 0, 0]), tol=1e-10)
    np.testing.assert_allclose(after.weights, found.x, atol=2e-2)
    assert minus_objective(after.weights.astype(np.float64)) <= found.fun + 1e-3


def test_a_blend_keeps_the_strongest_followers_and_survives_a_file():
    train = histories_of(*[[0, each] for each in range(1, N)], [0, 5], [0, 5])
    blend = make_blend(train, None, ("transitions",))
    assert blend.names == ("transitions",) and blend.projection is None
    assert blend.followers[0, 0] == 5 and (np.diff(blend.strengths[0]) <= 0).all()
    again = Blend.from_arrays(blend.arrays())
    np.testing.assert_array_equal(again.followers, blend.followers)
    assert again.names == blend.names
    longer = blend.with_more_items(2)
    assert longer.followers.shape[0] == N + 2 and (longer.followers[N:] == NOBODY).all()
