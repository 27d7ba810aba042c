import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from sid_jax.quantize.nearest import assign_codes, sum_codewords
from sid_jax.quantize.residual import residual_quantize


def make(key, num_levels=3, size=8, features=4, batch=6):
    codebooks = [jax.random.normal(jax.random.fold_in(key, i), (size, features)) / 2**i for i in range(num_levels)]
    return jax.random.normal(jax.random.fold_in(key, 99), (batch, features)), codebooks


@pytest.mark.parametrize("method", ["ste", "gumbel_softmax"])
def test_without_noise_the_codes_are_those_of_export(key, method):
    latents, codebooks = make(key, batch=500)
    output = residual_quantize(latents, codebooks, method=method, key=key, noise_scale=0.0, temperature=0.05)
    codes = assign_codes(latents, codebooks)
    np.testing.assert_array_equal(output.codes, codes)
    np.testing.assert_allclose(output.quantized, sum_codewords(codes, codebooks), atol=1e-6)
    assert output.nearest.all()


def test_noise_moves_codes_and_is_reported(key):
    latents, codebooks = make(key, batch=500)
    output = residual_quantize(latents, codebooks, method="gumbel_softmax", key=key, noise_scale=1.0)
    agree = output.codes == assign_codes(latents, codebooks)
    # `nearest` says whether a code is the nearest one to the residual of its level. If and only if this holds at all
    # levels of an item, the item's codes equal those of `assign_codes`, the codes in exports.
    np.testing.assert_array_equal(output.nearest.all(-1), agree.all(-1))
    assert 0 < output.nearest.mean() < 1


def test_straight_through_ignores_the_key_and_gumbel_does_not(key):
    latents, codebooks = make(key, batch=100)
    other = jax.random.fold_in(key, 7)
    for method, same in (("ste", True), ("gumbel_softmax", False)):
        one, two = (residual_quantize(latents, codebooks, method=method, key=k).codes for k in (key, other))
        assert np.array_equal(one, two) == same


@pytest.mark.parametrize("num_levels", [1, 2, 3, 5])
def test_the_gradient_of_the_sum_is_the_identity_whatever_the_levels(key, num_levels):
    # If there were a straight-through estimator at each level, this Jacobian would be L times the identity.
    latents, codebooks = make(key, num_levels)
    jacobian = jax.jacobian(lambda z: residual_quantize(z, codebooks).quantized)(latents[0])
    np.testing.assert_array_equal(jacobian, np.eye(4))


@pytest.mark.parametrize("num_levels", [1, 2, 3, 5])
def test_the_commitment_of_each_level_reaches_the_encoder_once(key, num_levels):
    # The gradient of each level's commitment loss with respect to the latent vector is twice the residual after this
    # level, and no element of it is 0. If straight-through outputs were subtracted from the residual, the gradient
    # would be 0 from level 2 on.
    latents, codebooks = make(key, num_levels)
    output = residual_quantize(latents, codebooks)
    left = output.residuals - output.codewords
    for level in range(num_levels):
        gradient = jax.grad(lambda z, level=level: residual_quantize(z, codebooks).commitment_loss[:, level].sum())(
            latents
        )
        np.testing.assert_allclose(gradient, 2 * left[:, level], rtol=1e-5, atol=1e-6)
        assert np.abs(gradient).min() > 0


@pytest.mark.parametrize("method", ["ste", "gumbel_softmax"])
def test_the_codebook_loss_moves_each_codebook_and_no_encoder(key, method):
    latents, codebooks = make(key)
    choices = {"method": method, "key": key, "noise_scale": 0.1}

    def loss(latents, codebooks):
        return residual_quantize(latents, codebooks, **choices).codebook_loss.sum()

    to_latents, to_codebooks = jax.grad(loss, argnums=(0, 1))(latents, codebooks)
    np.testing.assert_array_equal(to_latents, np.zeros_like(latents))
    output = residual_quantize(latents, codebooks, **choices)
    for level, gradient in enumerate(to_codebooks):
        by_hand = np.zeros_like(gradient)
        for item, code in enumerate(np.asarray(output.codes[:, level])):
            by_hand[code] += 2 * np.asarray(output.codewords - output.residuals)[item, level]
        np.testing.assert_allclose(gradient, by_hand, rtol=1e-4, atol=1e-5)
        assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("temperature", [0.05, 1.0, 2.0])
def test_the_soft_walk_has_the_gradient_of_finite_differences(key, temperature):
    latents, codebooks = make(key, batch=1)

    def soft(z):
        return residual_quantize(z, codebooks, method="gumbel_softmax", temperature=temperature, hard=False).quantized

    jax.test_util.check_grads(soft, (latents,), order=1, modes=["rev"], atol=0.03, rtol=0.03, eps=1e-3)


def test_hard_gumbel_sends_the_codewords_forward_and_a_gradient_to_latents_and_codebooks(key):
    latents, codebooks = make(key)
    choices = {"method": "gumbel_softmax", "key": key, "temperature": 1.0}
    output = residual_quantize(latents, codebooks, **choices)
    np.testing.assert_allclose(output.quantized, sum_codewords(output.codes, codebooks), atol=1e-6)
    loss = lambda z, c: residual_quantize(z, c, **choices).quantized.sum()  # noqa: E731
    to_latents, to_codebooks = jax.grad(loss, argnums=(0, 1))(latents, codebooks)
    assert np.abs(to_latents).max() > 0
    assert all(np.abs(gradient).max() > 0 for gradient in to_codebooks)


def test_the_losses_speak_of_the_vector_that_went_forward(key):
    latents, codebooks = make(key)
    for hard in (True, False):
        output = residual_quantize(latents, codebooks, method="gumbel_softmax", key=key, hard=hard)
        left = jnp.square(output.residuals - output.codewords).sum(-1)
        np.testing.assert_allclose(output.codebook_loss, left, rtol=1e-5)
        np.testing.assert_allclose(output.commitment_loss, left, rtol=1e-5)
        np.testing.assert_allclose(output.codewords.sum(-2), output.quantized, atol=1e-5)


def test_soft_assignments_do_not_change_when_everything_is_scaled(key):
    latents, codebooks = make(key)
    one, scaled = (
        residual_quantize(factor * latents, [factor * c for c in codebooks], temperature=0.5) for factor in (1.0, 64.0)
    )
    for left, right in zip(one.probabilities, scaled.probabilities, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(left.sum(-1), 1.0, rtol=1e-5)


def test_stopped_codebooks_get_no_gradient_and_stopped_residuals_cut_the_chain(key):
    latents, codebooks = make(key)

    def quantized(z, c, **choices):
        return residual_quantize(z, c, method="gumbel_softmax", temperature=1.0, **choices).quantized.sum()

    frozen = jax.grad(quantized, argnums=1)(latents, codebooks, stop_codebook_gradient=True)
    assert all(np.all(gradient == 0) for gradient in frozen)
    chained = jax.grad(quantized)(latents, codebooks)
    cut = jax.grad(quantized)(latents, codebooks, stop_residual_gradient=True)
    assert not np.allclose(chained, cut)


@pytest.mark.parametrize("method", ["ste", "gumbel_softmax"])
def test_it_works_inside_jit_grad_vmap_and_scan_with_a_traced_temperature(key, method):
    latents, codebooks = make(key)
    traces = []

    @jax.jit
    def anneal(latents, codebooks, key):
        def step(latents, temperature):
            traces.append(None)

            def loss(z, k):
                choices = {"method": method, "key": k, "temperature": temperature, "noise_scale": temperature}
                return residual_quantize(z, codebooks, **choices).commitment_loss.sum()

            keys = jax.random.split(key, latents.shape[0])
            return latents - 0.1 * jax.vmap(jax.grad(loss))(latents, keys), loss(latents[0], key)

        return jax.lax.scan(step, latents, jnp.linspace(2.0, 0.05, 20))

    moved, losses = anneal(latents, codebooks, key)
    assert np.isfinite(moved).all() and losses.shape == (20,)
    anneal(latents + 1, codebooks, key)
    assert len(traces) == 1


def test_an_unknown_method_is_refused_with_the_known_ones(key):
    latents, codebooks = make(key)
    with pytest.raises(ValueError, match="ste, rotation, diveq, gumbel_softmax"):
        residual_quantize(latents, codebooks, method="vq")
