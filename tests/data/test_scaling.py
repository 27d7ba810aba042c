from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sid_jax.data import scaling as scaling_module
from sid_jax.data.layout import ItemPart, Layout
from sid_jax.data.scaling import (
    STANDARDIZE,
    Scaling,
    apply_scaling,
    fit_scaling,
    invert_scaling,
    moments,
    normalize,
)
from sid_jax.errors import UserError

VECTORS = np.array([[0, 2], [4, 2], [2, 8]], dtype=np.float32)

finite_vectors = hnp.arrays(
    np.float32,
    # There are few shapes, since a program is compiled for each shape.
    st.sampled_from([(1, 1), (1, 5), (8, 1), (7, 3)]),
    elements=st.floats(-100, 100, width=32, allow_subnormal=False),
)
choices = st.fixed_dictionaries(
    {"unit_norm": st.booleans(), "center": st.booleans(), "standardize": st.sampled_from(STANDARDIZE)}
)


def test_global_scaling_by_hand():
    scaling = fit_scaling(VECTORS, unit_norm=False, center=True, standardize="global")
    # The features have the means 2 and 4. The squared deviations are 4, 4 and 0 for the first feature, and 4, 4 and 16
    # for the second one, in total 32.
    np.testing.assert_allclose(scaling.mean, [2, 4])
    np.testing.assert_allclose(scaling.scale, np.sqrt([32 / 6, 32 / 6]), rtol=1e-6)
    assert np.mean(np.square(apply_scaling(scaling, VECTORS))) == pytest.approx(1)


def test_global_scaling_without_center_by_hand():
    scaling = fit_scaling(VECTORS, unit_norm=False, center=False, standardize="global")
    np.testing.assert_array_equal(scaling.mean, [0, 0])
    np.testing.assert_allclose(scaling.scale, np.sqrt([92 / 6, 92 / 6]), rtol=1e-6)


def test_feature_scaling_by_hand():
    scaling = fit_scaling(VECTORS, unit_norm=False, center=True, standardize="feature")
    np.testing.assert_allclose(scaling.scale, np.sqrt([8 / 3, 8]), rtol=1e-6)


def test_no_scaling_changes_nothing():
    scaling = fit_scaling(VECTORS, unit_norm=False, center=False, standardize="none")
    np.testing.assert_array_equal(apply_scaling(scaling, VECTORS), VECTORS)


def test_unit_norm_comes_first():
    vectors = np.array([[3, 4], [0, 10]], dtype=np.float32)
    scaling = fit_scaling(vectors, unit_norm=True, center=True, standardize="none")
    np.testing.assert_allclose(scaling.mean, [0.3, 0.9], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(apply_scaling(scaling, vectors)), [[0.3, -0.1], [-0.3, 0.1]], rtol=1e-5)


def test_sums_are_float64():
    # A running float32 sum of a million numbers near 1000 has an error of 1%. There are two columns, since NumPy would
    # sum a single, contiguous column in pairs, which is almost exact.
    vectors = np.full((1_000_000, 2), 1000.1, dtype=np.float32)
    assert abs(vectors.mean(axis=0) - 1000.1).min() > 1
    scaling = fit_scaling(vectors, unit_norm=False, center=True, standardize="none")
    assert scaling.mean.tolist() == [np.float32(1000.1)] * 2


@pytest.mark.parametrize("num_items", [1, 4, 5, 23])
def test_moments_of_blocks_are_those_of_all_items(monkeypatch, num_items):
    monkeypatch.setattr(scaling_module, "_ROWS_A_BLOCK", 4)
    vectors = np.random.default_rng(num_items).normal([5, -1, 1e4], [1, 0.1, 1e-2], (num_items, 3)).astype(np.float32)
    mean, variance, counts = moments(vectors, False)
    exact = vectors.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, exact.var(axis=0), rtol=1e-9, atol=1e-18)
    assert counts.tolist() == [num_items] * 3
    unit = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    np.testing.assert_allclose(moments(vectors, True)[1], unit.var(axis=0), rtol=1e-9, atol=1e-18)


def test_moments_of_parts_are_those_of_the_items_that_have_them(monkeypatch):
    monkeypatch.setattr(scaling_module, "_ROWS_A_BLOCK", 4)
    layout = Layout((ItemPart("one", 2, 1.0, False), ItemPart("two", 2), ItemPart("none", 1)))
    vectors = np.random.default_rng(0).normal(3, 1, (23, 5)).astype(np.float32)
    # The first block has no items with the first part.
    vectors[:9, :2] = vectors[5:15, 2:4] = vectors[:, 4] = np.nan
    mean, variance, counts = moments(vectors, True, layout)
    one, two = vectors[9:, :2].astype(np.float64), np.delete(vectors[:, 2:4], slice(5, 15), axis=0).astype(np.float64)
    two /= np.linalg.norm(two, axis=1, keepdims=True)
    np.testing.assert_allclose(mean, [*one.mean(axis=0), *two.mean(axis=0), 0], rtol=1e-12)
    np.testing.assert_allclose(variance, [*one.var(axis=0), *two.var(axis=0), 0], rtol=1e-9)
    assert counts.tolist() == [14, 14, 13, 13, 0]


@pytest.mark.parametrize("standardize", STANDARDIZE)
@pytest.mark.parametrize("unit_norm", [True, False])
def test_constant_data_is_not_divided_by_zero(standardize: str, unit_norm: bool):
    vectors = np.tile(np.array([[0.1, 0, 1000.3]], dtype=np.float32), (7, 1))
    scaling = fit_scaling(vectors, unit_norm=unit_norm, center=True, standardize=standardize)
    np.testing.assert_array_equal(scaling.scale, np.ones(3))
    np.testing.assert_allclose(apply_scaling(scaling, vectors), 0, atol=1e-4)


def test_a_constant_feature_among_others_is_divided_by_one():
    vectors = np.array([[1, 0.1], [3, 0.1]], dtype=np.float32)
    scaling = fit_scaling(vectors, unit_norm=False, center=True, standardize="feature")
    np.testing.assert_allclose(scaling.scale, [1, 1])
    assert fit_scaling(vectors * [2, 1], unit_norm=False, center=True, standardize="feature").scale.tolist() == [2, 1]


def test_zero_vectors_stay_zero_and_pass_no_nan_back():
    vectors = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(normalize(vectors, True), np.array([[0, 0], [0.6, 0.8]]), rtol=1e-6)
    gradient = jax.grad(lambda x: normalize(x, True).sum())(vectors)
    assert np.isfinite(gradient).all()
    # With u = x / |x|, the Jacobian of u is (I - u u^T) / |x|. The gradient is the sum of its rows.
    np.testing.assert_allclose(np.asarray(gradient[1]), np.array([1 - 0.36 - 0.48, 1 - 0.64 - 0.48]) / 5, rtol=1e-4)


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1, 1e20, 1e37])
def test_lengths_out_of_float32s_squares_are_no_trouble(size: float):
    vectors = jnp.array([[3.0, 0.0, 3.0]]) * np.float32(size) / 3
    np.testing.assert_allclose(normalize(vectors, True), np.sqrt([[0.5, 0, 0.5]]), rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(vectors=finite_vectors, options=choices)
def test_inverse_and_fit_hold_for_all_data(vectors: np.ndarray, options: dict):
    scaling = fit_scaling(vectors, **options)
    assert scaling.mean.shape == scaling.scale.shape == (vectors.shape[1],)
    assert scaling.mean.dtype == scaling.scale.dtype == jnp.float32
    scaled = apply_scaling(scaling, vectors)
    assert np.isfinite(scaled).all()
    assert (np.asarray(scaling.scale) > 0).all()
    back = invert_scaling(scaling, scaled)
    np.testing.assert_allclose(back, normalize(jnp.asarray(vectors), options["unit_norm"]), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(vectors=finite_vectors, options=choices)
def test_jit_vmap_and_eager_agree(vectors: np.ndarray, options: dict):
    scaling = fit_scaling(vectors, **options)
    eager = apply_scaling(scaling, vectors)
    np.testing.assert_allclose(jax.jit(apply_scaling)(scaling, vectors), eager, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        jax.vmap(apply_scaling, in_axes=(None, 0))(scaling, jnp.asarray(vectors)), eager, rtol=1e-5, atol=1e-5
    )


def test_scaling_is_a_pytree_with_a_static_choice():
    scaling = fit_scaling(VECTORS, unit_norm=True, center=True, standardize="global")
    assert len(jax.tree.leaves(scaling)) == 2
    doubled = jax.tree.map(lambda x: 2 * x, scaling)
    assert isinstance(doubled, Scaling)
    assert doubled.unit_norm is True
    np.testing.assert_array_equal(doubled.mean, 2 * scaling.mean)


def test_an_unknown_choice_is_refused():
    with pytest.raises(UserError, match="data.standardize is 'both'; choose one of global, feature, none"):
        fit_scaling(VECTORS, unit_norm=False, center=True, standardize="both")


def test_vectors_too_small_for_float32_to_divide_by_are_left_as_they_are():
    vectors = np.array([[1.1754944e-38, 0.0]], np.float32)
    scaling = fit_scaling(vectors, unit_norm=False, center=False, standardize="global")
    assert np.isfinite(apply_scaling(scaling, vectors)).all()
