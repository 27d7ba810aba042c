import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.quantize.kmeans import centroids_by_splitting, lloyd


def test_the_worst_cluster_is_cut_across_its_length():
    """The first cut separates x = 0 and 1 from x = 10. The second cut separates the two points at x = 10."""
    points = np.float32([[0, 0], [1, 0], [10, 0], [10, 4]])
    assert sorted(centroids_by_splitting(points, 2).tolist()) == [[0.5, 0], [10, 2]]
    assert sorted(centroids_by_splitting(points, 3).tolist()) == [[0.5, 0], [10, 0], [10, 4]]


def test_a_long_axis_between_the_features_is_found():
    """Most of the variance is along (1, 1), between the axes of the two features."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 1)) * [3, 3] + rng.normal(size=(400, 1)) * [0.3, -0.3]
    one, two = centroids_by_splitting(points.astype(np.float32), 2)
    direction = (one - two) / np.linalg.norm(one - two)
    assert abs(direction @ [0.5**0.5, 0.5**0.5]) > 0.99


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10_000))
def test_as_many_centroids_as_points_are_distinct(num_points, num_clusters, seed):
    points = np.random.default_rng(seed).integers(0, 5, (num_points, 2)).astype(np.float32)
    start = centroids_by_splitting(points, num_clusters)
    assert start.shape == (num_clusters, 2) and np.isfinite(start).all()
    distinct = len({tuple(row) for row in points})
    if num_clusters >= distinct:
        assert {tuple(row) for row in start} == {tuple(row) for row in points}


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_points_hardly_matters(seed):
    """In another order, sums are rounded differently, but the clusters are the same."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(300, 4)).astype(np.float32)
    ends = [
        np.asarray(lloyd(jnp.asarray(some), jnp.asarray(centroids_by_splitting(some, 8)), 5))
        for some in (points, rng.permutation(points))
    ]
    one, two = (end[np.lexsort(end.T)] for end in ends)
    np.testing.assert_allclose(one, two, atol=1e-3)
