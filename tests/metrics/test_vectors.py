import numpy as np
import pytest

from sid_jax.metrics import vectors as vectors_module
from sid_jax.metrics.ids import neighbors_share_prefix
from sid_jax.metrics.vectors import kmeans_r2, nearest_items, r2_of_moments, random_r2


def test_neighbors_are_by_cosine_and_never_the_item_itself(monkeypatch):
    monkeypatch.setattr(vectors_module, "_ASKED_A_CALL", 16)
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    vectors[7] = 100 * vectors[3]
    asked = np.array([3, 7, *range(10, 40)])
    found = nearest_items(vectors, asked, 5)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -2)
    # Items 3 and 7 have the same direction, so their order is arbitrary. Cosines are therefore compared, not items.
    nearest = np.sort(cosines[asked], axis=1)[:, :-6:-1]
    np.testing.assert_allclose(np.take_along_axis(cosines[asked], found, axis=1), nearest, rtol=1e-5)
    assert all(len(set(row)) == 5 for row in found.tolist())
    assert found[0, 0] == 7 and found[1, 0] == 3


def test_shares_of_prefixes_by_hand():
    ids = np.array([[0, 0], [0, 1], [0, 0], [1, 0]])
    shared = neighbors_share_prefix(ids, np.array([[1, 2], [0, 1]]), np.array([0, 3]))
    # Both neighbors of item 0 have the first code of item 0, and one of them has the ID of item 0. The first code of
    # item 3 differs from the first codes of its two neighbors.
    assert shared == [2 / 4, 1 / 4]


def test_residual_kmeans_reaches_what_there_is_and_chance_does_not():
    random = np.random.default_rng(0)
    centers = 10 * random.normal(size=(4, 3))
    inputs = (centers[random.integers(0, 4, 400)] + 0.1 * random.normal(size=(400, 3))).astype(np.float32)
    # With a random start, k-means may miss one of the four clusters. The second level then corrects the error.
    first, second = kmeans_r2(inputs, [4, 4])
    assert 0.5 < first < second and second > 0.95
    # There are more codes than items.
    assert kmeans_r2(inputs[:3], [8])[0] == pytest.approx(1.0)


def test_chance_is_what_random_codes_come_to():
    assert random_r2(101, [11, 51]) == pytest.approx([0.1, 1 - 0.9 * 0.5])
    assert random_r2(5, [9]) == [1.0]
    random = np.random.default_rng(0)
    inputs, codes = random.normal(size=(2000, 5)), random.integers(0, 200, 2000)
    means = np.stack([inputs[codes == code].mean(axis=0) for code in range(200)])
    explained = 1 - np.square(inputs - means[codes]).sum() / np.square(inputs - inputs.mean(axis=0)).sum()
    assert explained == pytest.approx(random_r2(2000, [200])[0], abs=0.02)


def test_r2_of_moments_is_that_of_the_items():
    random = np.random.default_rng(0)
    vectors, decoded, fixed = random.normal(1, 2, (50, 3)), random.normal(1, 2, (50, 3)), np.array([3.0, 0.0, 1.0])
    error, away = np.square(vectors - decoded).sum(), np.square(vectors - fixed).sum()
    figures = r2_of_moments(np.array([50, error, away, *(vectors - fixed).sum(axis=0)]))
    assert figures["r2_sampled"] == pytest.approx(1 - error / np.square(vectors - vectors.mean(axis=0)).sum())
    assert figures["mse_sampled"] == pytest.approx(np.square(vectors - decoded).mean()) and figures["num_sampled"] == 50
