import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sid_jax.quantize.estimators import add_error, gumbel_softmax, rotate_to, standard_gumbel, straight_through
from sid_jax.quantize.residual import residual_quantize


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
    # With the Gumbel-max trick, the shares of the codes are the softmax of the scores. If the scores were divided by
    # the temperature before the noise is added, the temperature 0.1 would make the shares more unequal.
    probabilities = np.array([0.5, 0.3, 0.2])
    scores = jnp.broadcast_to(jnp.log(probabilities), (40_000, 3))
    for temperature in (0.1, 1.0, 2.0):
        _, codes = gumbel_softmax(scores, key, temperature=temperature)
        np.testing.assert_allclose(np.bincount(codes) / 40_000, probabilities, atol=0.01)


def test_the_temperature_divides_once():
    scores = jnp.array([2.0, 0.0])
    weights, _ = gumbel_softmax(scores, None, temperature=2.0, hard=False)
    # The first weight of softmax([2 / 2, 0]) is .73. If the scores were divided by the temperature twice, the weight
    # would be that of softmax([2 / 4, 0]), .62.
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


def test_a_rotation_takes_latents_to_the_codewords_and_gradients_with_them(key):
    latents, quantized = jax.random.normal(key, (2, 7, 4))
    np.testing.assert_array_equal(rotate_to(latents, quantized), quantized)
    for vector, target in zip(latents, quantized, strict=True):
        jacobian = np.asarray(jax.jacobian(rotate_to)(vector, target), np.float64)
        scale = np.linalg.norm(target) / np.linalg.norm(vector)
        np.testing.assert_allclose(jacobian @ vector, target, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(jacobian.T @ jacobian, scale**2 * np.eye(4), atol=1e-4 * scale**2)
        assert np.linalg.det(jacobian / scale) == pytest.approx(1, abs=1e-4)
        # Components orthogonal to both vectors are only scaled.
        across = np.linalg.svd(np.stack([vector, target]))[2][2]
        np.testing.assert_allclose(jacobian @ across, scale * across, atol=1e-4 * scale)


def test_without_the_rescaling_a_rotation_would_not_end_in_the_codewords(key):
    latents, quantized = jax.random.normal(key, (2, 7, 4))
    shorter = jnp.linalg.norm(latents, axis=-1, keepdims=True) / jnp.linalg.norm(quantized, axis=-1, keepdims=True)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(shorter * rotate_to(latents, quantized), quantized, rtol=1e-3)


@pytest.mark.parametrize("estimator", [rotate_to, add_error])
def test_zeros_and_opposite_vectors_have_finite_gradients(estimator):
    one = jnp.array([[0.0, 0.0], [1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])
    other = jnp.array([[1.0, 1.0], [-1.0, -2.0], [1.0, 2.0], [0.0, 0.0]])
    gradients = jax.grad(lambda z, q: jnp.sum(estimator(z, q) ** 2), argnums=(0, 1))(one, other)
    assert all(np.isfinite(each).all() for each in gradients)


def test_an_added_error_moves_latents_and_codewords_along_it_alone(key):
    latent, quantized = jax.random.normal(key, (2, 4))
    np.testing.assert_allclose(add_error(latent, quantized), quantized, rtol=1e-5)
    unit = np.asarray((quantized - latent) / jnp.linalg.norm(quantized - latent))
    of_latent, of_quantized = jax.jacobian(add_error, argnums=(0, 1))(latent, quantized)
    np.testing.assert_allclose(of_latent, np.eye(4) - np.outer(unit, unit), atol=1e-5)
    np.testing.assert_allclose(of_quantized, np.outer(unit, unit), atol=1e-5)
    noisy = add_error(latent, quantized, key, 0.5)
    # The noise changes the direction of the quantization error, but not its length.
    np.testing.assert_allclose(jnp.linalg.norm(noisy - latent), jnp.linalg.norm(quantized - latent), rtol=1e-5)
    assert np.abs(noisy - quantized).max() > 1e-3


def test_the_sum_of_all_levels_goes_through_one_rotation_or_error(key):
    latents = jax.random.normal(key, (6, 4))
    codebooks = [jax.random.normal(jax.random.fold_in(key, level), (8, 4)) / level for level in (1, 2, 3)]
    straight = residual_quantize(latents, codebooks)
    for method, estimator in (("rotation", rotate_to), ("diveq", add_error)):
        output = residual_quantize(latents, codebooks, method=method)
        np.testing.assert_array_equal(output.codes, straight.codes)
        np.testing.assert_allclose(output.quantized, straight.quantized, rtol=1e-5, atol=1e-6)
        ours, expected = (
            jax.grad(lambda z, f=f: jnp.sum(jnp.sin(f(z))))(latents)
            for f in (
                lambda z, m=method: residual_quantize(z, codebooks, method=m).quantized,
                lambda z, e=estimator: e(z, jax.lax.stop_gradient(straight.quantized)),
            )
        )
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(40_000, 5), (200_001,)])
def test_the_noise_is_standard_gumbel(key, shape):
    noise = np.asarray(standard_gumbel(key, shape), np.float64)
    assert noise.shape == shape and noise.dtype == np.float64 and np.isfinite(noise).all()
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.015)
    assert noise.std() == pytest.approx(np.pi / np.sqrt(6), abs=0.015)
    for threshold in (-1.0, 0.0, 1.0, 5.0):
        assert (noise < threshold).mean() == pytest.approx(np.exp(-np.exp(-threshold)), abs=0.005)
    # `standard_gumbel` makes two values from the two halves of one random integer's bits. These values must be
    # independent.
    if len(shape) > 1:
        assert np.abs(np.corrcoef(noise.T) - np.eye(5)).max() < 0.02


def test_columns_of_noise_are_those_of_the_whole_noise(key):
    whole = standard_gumbel(key, (6, 2, 9))
    for first, end in ((0, 9), (0, 4), (3, 7), (8, 9)):
        np.testing.assert_array_equal(standard_gumbel(key, (6, 2, 9), (first, end)), whole[..., first:end])
    # The scores of a level get the level's own columns of the noise, so levels with the same key get independent noise.
    scores = jax.random.normal(jax.random.fold_in(key, 1), (6, 2, 4))
    _, codes = gumbel_softmax(scores, key, columns=(3, 9), temperature=1.0, noise_scale=0.5)
    np.testing.assert_array_equal(codes, jnp.argmax(scores + 0.5 * whole[..., 3:7], axis=-1))


def test_noise_of_other_numbers_other_items_and_other_keys_is_independent(key):
    noise = np.stack([standard_gumbel(jax.random.fold_in(key, step), (20_000, 6)) for step in (0, 1)])
    first = noise[0, :-1]
    others = {"next item": noise[0, 1:], "next step": noise[1, :-1], "next step, next item": noise[1, 1:]}
    for name, other in others.items():
        # These are the correlations between the 6 numbers in a row of `first` and the 6 in the same row of `other`.
        assert np.abs(np.corrcoef(first.T, other.T)[:6, 6:]).max() < 0.03, name
    # If six codes have equal scores, each is chosen equally often, whatever code was chosen for the previous item.
    winners = noise[0].argmax(1)
    pairs = np.bincount(6 * winners[:-1] + winners[1:], minlength=36) / len(first)
    np.testing.assert_allclose(pairs, 1 / 36, atol=0.004)


def test_the_look_up_of_noise_is_its_formula(key, monkeypatch):
    looked_up = standard_gumbel(key, (50, 7))
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    np.testing.assert_allclose(looked_up, standard_gumbel(key, (50, 7)), rtol=1e-5, atol=1e-5)
