"""Recommendations from a shortlist, compared with recommendations from the scores of all items."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType

from sid_jax.ids.table import IdTable
from sid_jax.recommend import ranker as ranker_module
from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.data.blend import NOBODY, Blend
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.models.catalog import catalog_of
from sid_jax.recommend.ranker import ModelRanker
from sid_jax.training.sharding import all_devices

N, F, CONTENT = 5000, 90, 6
MESH = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])


class Products(nnx.Module):
    """A model whose scores are inner products of items' vectors with the vector of the history's last item."""

    def __init__(self, decay):
        table = jax.random.normal(jax.random.key(0), (N, F)) * decay ** np.arange(F)[None]
        self.table = nnx.Param(table.astype("float32"))

    def loss(self, batch, catalog, key):
        raise AssertionError("nothing is trained here")

    def item_vectors(self, catalog):
        return self.table[...]

    def read(self, histories, vectors):
        last = jax.numpy.take_along_axis(histories.items, histories.lengths[:, None] - 1, axis=1)[:, 0]
        return 2.0 * vectors[last]

    def scores(self, known, vectors):
        return known @ vectors.T


def ranker(decay, blend=None, unavailable=()):
    random = np.random.default_rng(1)
    content = random.normal(size=(N, CONTENT)).astype(np.float32)
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    ids = np.stack([np.arange(N) // 50, np.arange(N) % 50], axis=1).astype(np.int32)
    cold = np.isin(np.arange(N), unavailable)
    candidates = Candidates.of(IdTable(np.arange(N), ids), random.integers(50, size=N), cold, None, content)
    catalog = catalog_of(dataclasses.replace(candidates, blend=blend), candidates.known)
    graphdef, params = nnx.split(Products(decay))
    return ModelRanker("products", graphdef, params, catalog, num_beams=1, mesh=MESH)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(ranker_module, "_SHORTLIST_FROM", 1000)


def histories():
    items = np.random.default_rng(2).integers(N, size=(20, 8)).astype(np.int32)
    return HistoryBatch(items, np.full(20, 8, np.int32), np.zeros(20, np.int32))


def a_blend():
    random = np.random.default_rng(3)
    followers = np.where(random.random((N, 40)) < 0.8, random.integers(N, size=(N, 40)), NOBODY).astype(np.int32)
    strengths = np.where(followers == NOBODY, 0, random.random((N, 40))).astype(np.float32)
    projection = np.eye(CONTENT, dtype=np.float32)
    return Blend(np.array([0.7, 0.4, 1.5, 0.2], np.float32), followers, strengths, projection, True)


@pytest.mark.parametrize("blend", [None, a_blend()], ids=["model", "blend"])
def test_lists_and_scores_are_those_of_all_items(short, blend):
    asked = ranker(0.93, blend, unavailable=range(0, N, 9))
    exact, scores = asked.full_lists(histories(), 10, histories().items, 8)
    found, estimated = asked.full_lists(histories(), 10, histories().items, 8, exact=False)
    assert asked.shortlist.rows.shape[1] == 64 < F
    np.testing.assert_array_equal(found, exact)
    assert not (found % 9 == 0).any()
    # Only the normalizer is estimated, so for each user, the scores of all items have the same small error.
    difference = estimated - scores
    np.testing.assert_allclose(difference, difference[:, :1] * np.ones((1, 10)), atol=2e-4)
    assert np.abs(difference).max() < 0.05


def test_an_item_with_many_transitions_is_found_whatever_its_vector(short):
    blend = a_blend()
    # According to the blend, only one item follows a history's last item: the one with the model's lowest score.
    batch = histories()
    last = batch.items[:, -1]
    table = np.asarray(ranker(0.5).vectors)
    least = np.argmin(table[last] @ table.T, axis=1)
    blend.followers[last], blend.strengths[last] = NOBODY, 0
    blend.followers[last, 0], blend.strengths[last, 0] = least, 1e4
    sure = dataclasses.replace(blend, weights=np.array([0.01, 5, 0, 0], np.float32))
    found, _ = ranker(0.5, sure).full_lists(batch, 1, None, 8, exact=False)
    np.testing.assert_array_equal(found[:, 0], least)


def test_a_small_catalog_and_several_devices_have_no_shortlist(short, monkeypatch):
    asked = ranker(0.9)
    assert asked.shortlist is not None
    many = ModelRanker("products", asked.graphdef, asked.params, asked.catalog, num_beams=1, mesh=all_devices())
    assert jax.device_count() > 1 and many.shortlist is None
    monkeypatch.setattr(ranker_module, "_SHORTLIST_FROM", N + 1)
    assert ranker(0.9).shortlist is None
