import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sid_jax.quantize.estimators import gumbel_softmax, straight_through


def test_straight_through_is_the_quantized_vector_bit_for_bit(key):
    latents = jax.random.normal(key, (100, 8)) * 1e3
    quantized = jax.random.normal(jax.random.fold_in(key, 1), (100, 8))
    np.testing.assert_array_equal(straight_through(latents, quantized), quantized)


def test_straight_through_has_the_identity_as_gradient():
    jacobian = jax.jacobian(straight_through)(jnp.array([1.0, 2.0]), jnp.array([5.0, 5.0]))
    np.testing.assert_array_equal(jacobian, np.eye(2))


def test_without_noise_the_highest_score_is_taken_and_the_key_does_not_matter(key):
    scores = jax.random.normal(key, (50, 7))
    for noise in ({"key": None}, {"key": key, "noise_scale": 0.0}):
        weights, codes = gumbel_softmax(scores, temperature=0.3, **noise)
        np.testing.assert_array_equal(codes, jnp.argmax(scores, -1))
        np.testing.assert_array_equal(weights, jax.nn.one_hot(codes, 7))


def test_with_noise_the_key_matters(key):
    scores = jnp.zeros((50, 7))
    one, same, other = (gumbel_softmax(scores, k, temperature=1.0)[1] for k in (key, key, jax.random.fold_in(key, 1)))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_samples_follow_the_softmax_of_the_scores_whatever_the_temperature(key):
    # The Gumbel-max trick. Had the temperature divided the scores of the sample too, 0.1 would sharpen the shares.
    probabilities = np.array([0.5, 0.3, 0.2])
    scores = jnp.broadcast_to(jnp.log(probabilities), (40_000, 3))
    for temperature in (0.1, 1.0, 2.0):
        _, codes = gumbel_softmax(scores, key, temperature=temperature)
        np.testing.assert_allclose(np.bincount(codes) / 40_000, probabilities, atol=0.01)


def test_the_temperature_divides_once():
    scores = jnp.array([2.0, 0.0])
    weights, _ = gumbel_softmax(scores, None, temperature=2.0, hard=False)
    # softmax(2 / 2, 0); dividing twice would give softmax(2 / 4, 0) = 0.62.
    assert weights[0] == pytest.approx(np.e / (np.e + 1), rel=1e-6)


def test_hard_goes_forward_and_soft_goes_back(key):
    scores, pull = jax.random.normal(key, (5, 4)), jax.random.normal(jax.random.fold_in(key, 1), (5, 4))

    def loss(scores, hard):
        return jnp.sum(pull * gumbel_softmax(scores, key, temperature=0.7, hard=hard)[0])

    hard, soft = (jax.grad(loss)(scores, hard) for hard in (True, False))
    np.testing.assert_allclose(hard, soft, rtol=1e-6)
    assert np.abs(hard).max() > 0
    weights, codes = gumbel_softmax(scores, key, temperature=0.7)
    np.testing.assert_array_equal(weights, jax.nn.one_hot(codes, 4))
