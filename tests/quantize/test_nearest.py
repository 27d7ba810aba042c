import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.quantize.nearest import (
    assign_codes,
    code_margins,
    code_scores,
    codebook_spacing,
    codewords_by_one_hot,
    codewords_of,
    index_of_largest,
    largest_few,
    nearest_codes,
    squared_distances,
    sum_codewords,
)

CODEBOOK = jnp.array([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])


def test_squared_distances_by_hand():
    points = jnp.array([[0.0, 0.0], [3.0, 0.0]])
    np.testing.assert_array_equal(squared_distances(points, CODEBOOK), [[0, 25, 1], [9, 16, 4]])


def test_scores_are_the_negative_distances_but_for_the_residuals_own_norm():
    points = jnp.array([[3.0, 0.0]])
    np.testing.assert_array_equal(9.0 - code_scores(points, CODEBOOK), squared_distances(points, CODEBOOK))


def test_ties_go_to_the_lowest_index():
    assert nearest_codes(jnp.array([0.0]), jnp.array([[1.0], [-1.0], [1.0]])) == 0
    assert nearest_codes(jnp.array([0.0]), jnp.zeros((5, 1))) == 0


def test_the_walk_subtracts_what_each_level_took():
    codebooks = [jnp.array([[0.0], [10.0]]), jnp.array([[-1.0], [1.0]]), jnp.array([[0.0], [0.5]])]
    codes = assign_codes(jnp.array([[11.4], [-0.6]]), codebooks)
    np.testing.assert_array_equal(codes, [[1, 1, 1], [0, 0, 1]])
    np.testing.assert_allclose(sum_codewords(codes, codebooks), [[11.5], [-0.5]])
    assert codes.dtype == jnp.int32


def test_levels_may_differ_in_size_and_stacked_codebooks_are_the_same_as_listed_ones(key):
    stacked = jax.random.normal(key, (3, 8, 4))
    latents = jax.random.normal(jax.random.fold_in(key, 1), (2, 5, 4))
    codes = assign_codes(latents, stacked)
    assert codes.shape == (2, 5, 3)
    np.testing.assert_array_equal(codes, assign_codes(latents, list(stacked)))
    assert assign_codes(latents, [stacked[0], stacked[1, :3]]).shape == (2, 5, 2)


# Only a few shapes are drawn, since the function is compiled for each shape.
@given(st.sampled_from([1, 40]), st.sampled_from([1, 2, 9]), st.sampled_from([1, 6]), st.integers(0, 1000))
def test_codes_are_those_of_brute_force_in_float64(num_points, num_codes, features, seed):
    # With small whole numbers, every distance is exact in float32, so ties are the same as in float64.
    random = np.random.default_rng(seed)
    points = random.integers(-8, 8, (num_points, features)).astype(np.float32)
    codebook = random.integers(-8, 8, (num_codes, features)).astype(np.float32)
    distances = np.square(points[:, None].astype(np.float64) - codebook[None]).sum(-1)
    np.testing.assert_array_equal(nearest_codes(points, codebook), distances.argmin(1))


def test_distances_are_computed_at_the_highest_precision():
    # On a TPU or a GPU, the default precision is bfloat16 or TF32, which may change the nearest code.
    text = jax.jit(nearest_codes).lower(jnp.ones((4, 8)), jnp.ones((16, 8))).as_text()
    assert "HIGHEST" in text


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_input_is_scored_in_float32(dtype):
    assert code_scores(jnp.ones((2, 4), dtype), jnp.ones((3, 4), dtype)).dtype == jnp.float32


def test_one_hot_codewords_are_the_looked_up_ones_bit_for_bit(key):
    codebook = jax.random.normal(key, (16, 8)) * 1e3
    codes = jnp.array([3, 0, 15, 3])
    np.testing.assert_array_equal(codewords_by_one_hot(jax.nn.one_hot(codes, 16), codebook), codebook[codes])


@pytest.mark.parametrize("backend", ["cpu", "tpu"])
@pytest.mark.parametrize("shape", [(9,), (2, 3)])
def test_codewords_and_scores_have_the_gradients_of_their_formulas(key, monkeypatch, backend, shape):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    codebook, codes = jax.random.normal(key, (5, 3)), jax.random.randint(key, shape, 0, 4)
    points, pull = jax.random.normal(key, (*shape, 3)), jnp.arange(np.prod(shape) * 5.0).reshape(*shape, 5)
    ours = jax.grad(lambda c: jnp.sum(pull[..., :3] * codewords_of(codes, c)))(codebook)
    by_hand = np.zeros((5, 3))
    np.add.at(by_hand, np.asarray(codes), np.asarray(pull[..., :3]))
    np.testing.assert_allclose(ours, by_hand, rtol=1e-6)

    def plain_scores(points, codebook):
        return 2 * points @ codebook.T - jnp.broadcast_to(jnp.square(codebook).sum(-1), pull.shape)

    ours, plain = (
        jax.grad(lambda p, c, f=f: jnp.sum(pull * f(p, c)), (0, 1))(points, codebook)
        for f in (code_scores, plain_scores)
    )
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_a_margin_is_the_lead_over_the_second_nearest_in_units_of_the_residual():
    # At level 1, the residual is 3. Its square is 9, and its squared distances to the codewords 0 and 4 are 9 and 1.
    # At level 2, the residual is -1. Its square is 1, and its squared distances to the codewords 1 and -1 are 4 and 0.
    codebooks = [jnp.array([[0.0], [4.0]]), jnp.array([[1.0], [-1.0]])]
    np.testing.assert_allclose(code_margins(jnp.array([[3.0]]), codebooks), [[8 / 9, 4.0]])
    assert code_margins(jnp.array([3.0]), [jnp.array([[1.0]])])[0] == jnp.inf
    assert code_margins(jnp.array([2.0]), codebooks)[0] == 0.0


def test_spacing_is_the_mean_squared_distance_to_the_nearest_other_codeword():
    # For the codewords 0, 1 and 4, the squared distances to the nearest other codeword are 1, 1 and 9.
    assert codebook_spacing(jnp.array([[0.0], [1.0], [4.0]])) == pytest.approx((1 + 1 + 9) / 3)


@pytest.mark.parametrize("codebook", [jnp.ones((1, 3)), jnp.ones((4, 3))])
def test_spacing_is_one_where_there_is_none(codebook):
    assert codebook_spacing(codebook) == 1.0


@given(st.sampled_from([1, 2, 7]), st.integers(0, 10_000))
def test_the_index_of_the_largest_is_argmax_ties_and_infinities_too(size, seed):
    scores = np.random.default_rng(seed).integers(-2, 3, (3, 4, size)).astype(np.float32)
    scores[scores == 2] = np.inf
    scores[scores == -2] = -np.inf
    np.testing.assert_array_equal(index_of_largest(jnp.asarray(scores)), scores.argmax(-1))


def test_a_nan_gives_an_index_still():
    assert 0 <= int(index_of_largest(jnp.array([1.0, jnp.nan, 2.0]))) < 3


@pytest.mark.parametrize("count", [1, 3, 8])
def test_the_largest_few_are_those_of_a_sort_ties_to_the_lowest_index(key, count):
    scores = jax.random.randint(key, (50, 4, 9), -3, 4).astype(jnp.float32)
    values, indices = largest_few(scores, count)
    wanted = jax.lax.top_k(scores, count)
    np.testing.assert_array_equal(values, wanted[0])
    np.testing.assert_array_equal(indices, wanted[1])
