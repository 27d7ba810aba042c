import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.quantize.kmeans import centroids_by_splitting, fill_rows, kmeans, kmeans_plus_plus, lloyd, residual_kmeans
from sid_jax.quantize.nearest import assign_codes, nearest_codes, sum_codewords


def blobs(centers, each=30, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.05, (len(centers), each, len(centers[0])))
    return jnp.asarray((np.asarray(centers, float)[:, None] + noise).reshape(-1, len(centers[0])), jnp.float32)


def test_a_lloyd_step_by_hand():
    points = jnp.array([[0.0], [1.0], [9.0], [11.0]])
    np.testing.assert_allclose(lloyd(points, jnp.array([[0.0], [8.0]]), 1), [[0.5], [10.0]])


def test_an_empty_cluster_moves_to_the_point_that_is_served_worst():
    points = jnp.array([[0.0], [1.0], [20.0]])
    moved = lloyd(points, jnp.array([[0.5], [100.0], [200.0]]), 1)
    # The centroid 0.5 is the nearest one to all three points, and moves to their mean. The centroids of the two empty
    # clusters move to the points with the largest and the second largest error.
    np.testing.assert_allclose(moved, [[7.0], [20.0], [0.0]])


def test_each_blob_gets_its_centroid_whatever_the_seed():
    centers = [[0, 0], [5, 0], [0, 5], [5, 5], [9, 9]]
    for seed in range(10):
        found = kmeans(blobs(centers), 5, 20, jax.random.key(seed))
        distances = np.linalg.norm(np.asarray(found)[:, None] - np.array(centers)[None], axis=-1)
        assert distances.min(0).max() < 0.1


# Only a few sizes are drawn, since the function is compiled for each pair of sizes.
_SIZES = st.sampled_from([1, 2, 7, 30])


@given(_SIZES, _SIZES, st.integers(0, 10_000))
def test_seeds_are_points_and_distinct_as_far_as_the_points_are(num_points, num_clusters, seed):
    random = np.random.default_rng(seed)
    points = random.integers(0, 5, (num_points, 2)).astype(np.float32)
    seeds = np.asarray(kmeans_plus_plus(jax.random.key(seed), jnp.asarray(points), num_clusters))
    assert {tuple(row) for row in seeds} <= {tuple(row) for row in points}
    assert len({tuple(row) for row in seeds}) == min(num_clusters, len({tuple(row) for row in points}))


def test_the_error_never_rises_from_iteration_to_iteration(key):
    points = jax.random.normal(key, (500, 3))
    centroids, errors = points[:20], []
    for _ in range(15):
        errors.append(float(jnp.square(points - centroids[nearest_codes(points, centroids)]).sum()))
        centroids = lloyd(points, centroids, 1)
    assert errors == sorted(errors, reverse=True)


def test_every_level_leaves_less_and_every_code_is_used(key):
    points = jax.random.normal(key, (2000, 8))
    codebooks = residual_kmeans(points, (16, 32, 16), 20, key)
    codes = assign_codes(points, codebooks)
    left = [float(jnp.square(points - sum_codewords(codes[:, :n], codebooks[:n])).sum()) for n in (1, 2, 3)]
    assert left == sorted(left, reverse=True)
    assert [len(np.unique(codes[:, level])) for level in range(3)] == [16, 32, 16]


def test_the_same_key_gives_the_same_codebooks(key):
    points = jax.random.normal(key, (300, 4))
    one, two = (residual_kmeans(points, (8, 8), 10, key) for _ in range(2))
    np.testing.assert_array_equal(np.stack(one), np.stack(two))


@pytest.mark.parametrize("num_candidates", [1, 2, 10])
def test_rows_are_filled_in_the_order_of_priority_and_over_again_if_need_be(num_candidates):
    rows, empty = jnp.zeros((4, 1)), jnp.array([False, True, True, True])
    candidates = jnp.arange(1.0, num_candidates + 1)[:, None]
    filled = np.asarray(fill_rows(rows, empty, candidates, candidates[:, 0]))[:, 0]
    best = sorted(range(1, num_candidates + 1), reverse=True)[:4]
    assert filled.tolist() == [0, *(best[i % len(best)] for i in range(3))]


@pytest.mark.parametrize("seed", range(3))
def test_groups_along_few_axes_are_found_under_noise_along_many(seed):
    """The 32 groups are at the corners of a five-dimensional cube. The noise has a larger total variance than the cube.

    The cube has five axes, and the noise has 300.
    """
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(32), 30)
    points = rng.normal(size=(len(groups), 300))
    points[:, :5] += 5.0 * np.stack([groups >> axis & 1 for axis in range(5)], axis=1)
    turn, _ = np.linalg.qr(rng.normal(size=(300, 300)))
    points = (points @ turn).astype(np.float32)
    at_once = lloyd(jnp.asarray(points), jnp.asarray(centroids_by_splitting(points, 32)), 10)
    by_and_by = kmeans(jnp.asarray(points), 32, 10)
    assert _in_largest_group(points, groups, by_and_by) > _in_largest_group(points, groups, at_once) + 0.2


def _in_largest_group(points, groups, centroids):
    """The share of points that belong to the most common group in their cluster."""
    codes = np.asarray(nearest_codes(jnp.asarray(points), centroids))
    return sum(np.bincount(groups[codes == code]).max() for code in np.unique(codes)) / len(groups)


@given(st.integers(1, 12), st.sampled_from([1, 3, 20]), st.integers(0, 10_000))
def test_points_in_fewer_dimensions_than_features_are_clustered_too(rank, num_points, seed):
    random = np.random.default_rng(seed)
    points = (random.normal(size=(num_points, rank)) @ random.normal(size=(rank, 20))).astype(np.float32)
    assert np.isfinite(kmeans(jnp.asarray(points), 4, 3)).all()
