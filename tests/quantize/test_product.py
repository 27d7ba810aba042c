import jax.numpy as jnp
import numpy as np
import pytest

from sid_jax.quantize.nearest import assign_codes, sum_codewords
from sid_jax.quantize.product import balanced_axes, nearest_rotation, only_parts, parts_of, product_kmeans


def test_parts_lie_one_after_the_other_and_differ_by_one_feature_at_most():
    assert parts_of(6, 3) == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert parts_of(8, 3) == [slice(0, 3), slice(3, 6), slice(6, 8)]
    with pytest.raises(ValueError, match="2 features cannot be divided into 3 subvectors"):
        parts_of(2, 3)


def test_axes_are_dealt_out_so_that_products_of_variances_are_alike():
    # The variances of the axes are in the ratio 8 : 4 : 2 : 1. Subvector 1 gets the axis with variance 8, and subvector
    # 2 gets the axis with 4. Subvector 2 also gets the axis with 2, since the product of its variances is 4, and that
    # of subvector 1 is 8. Then subvector 2 is full, so subvector 1 gets the last axis. Both products are now 8.
    lengths = np.sqrt([2.0, 8.0, 16.0, 4.0])
    axes = np.abs(balanced_axes(np.diag(lengths), [2, 2]))
    np.testing.assert_allclose(axes.T, np.eye(4)[[2, 0, 1, 3]], atol=1e-6)


def test_procrustes_finds_the_rotation_between_two_sets_of_points():
    random = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(random.normal(size=(5, 5)))
    points = random.normal(size=(30, 5))
    np.testing.assert_allclose(nearest_rotation(points.T @ (points @ rotation)), rotation, atol=1e-6)


def test_points_that_are_a_turned_product_of_codewords_are_found_exactly():
    # There are three positions in each of two planes that are rotated in space. This gives nine points, each of which
    # occurs five times. The products of the variances are about the same in both planes, so that the initial
    # rotation finds the planes.
    planes, _ = np.linalg.qr(np.array([[1.0, 2, 0, 1], [0, 1, 3, 1], [2, 0, 1, 0], [1, 1, 0, 4]]))
    first, second = np.array([[6.0, 1], [-6, 1], [0, -2]]), np.array([[5.0, 1.2], [-5, 1.2], [0, -2.4]])
    grid = np.concatenate([np.repeat(first, 3, axis=0), np.tile(second, (3, 1))], axis=1)
    points = jnp.asarray(np.repeat(grid @ planes.T, 5, axis=0), jnp.float32)
    rotation, codebooks = product_kmeans(points, (3, 3), 20)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(4), atol=1e-5)
    rotated = points @ rotation
    codes = assign_codes(rotated, codebooks)
    np.testing.assert_allclose(sum_codewords(codes, codebooks), rotated, atol=1e-4)
    assert len(np.unique(codes, axis=0)) == 9


def test_the_residual_walk_is_product_assignment_bit_for_bit():
    random = np.random.default_rng(1)
    points = jnp.asarray(random.normal(size=(200, 7)), jnp.float32)
    # The codebooks have different sizes, and features outside of a level's subvector do not count.
    codebooks = only_parts([jnp.asarray(random.normal(size=(size, 7)), jnp.float32) for size in (5, 4, 6)])
    codes = np.asarray(assign_codes(points, codebooks))
    for level, part in enumerate(parts_of(7, 3)):
        distances = np.square(np.asarray(points)[:, None, part] - np.asarray(codebooks[level])[None, :, part]).sum(
            axis=-1
        )
        assert codes[:, level].tolist() == distances.argmin(axis=1).tolist()
        quantized = np.asarray(sum_codewords(jnp.asarray(codes), codebooks))[:, part]
        np.testing.assert_array_equal(quantized, np.asarray(codebooks[level])[codes[:, level], part])


def test_alternating_serves_points_better_than_the_start():
    # The features are correlated, so that principal axes alone do not give the best subvectors.
    random = np.random.default_rng(2)
    points = random.laplace(size=(500, 8)) @ random.normal(size=(8, 8))
    points = jnp.asarray(points - points.mean(axis=0), jnp.float32)

    def error(num_iterations):
        rotation, codebooks = product_kmeans(points, (16, 16), num_iterations)
        rotated = points @ rotation
        return float(jnp.sum(jnp.square(rotated - sum_codewords(assign_codes(rotated, codebooks), codebooks))))

    assert error(20) < 0.97 * error(1)
