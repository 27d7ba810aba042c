import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sid_jax.quantize.losses import codebook_loss, commitment_loss, noise_loss, reconstruction_loss

R, E = jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [3.0, 4.0]])


def test_each_term_sums_over_features_and_keeps_items():
    for loss in (reconstruction_loss, codebook_loss, commitment_loss):
        np.testing.assert_array_equal(loss(R, E), [5.0, 25.0])


def test_each_term_moves_one_side_alone():
    def gradients(loss):
        return jax.grad(lambda r, e: loss(r, e).sum(), argnums=(0, 1))(R, E)

    to_codebook = gradients(codebook_loss)
    np.testing.assert_array_equal(to_codebook[0], np.zeros((2, 2)))
    np.testing.assert_array_equal(to_codebook[1], 2 * (E - R))
    to_encoder = gradients(commitment_loss)
    np.testing.assert_array_equal(to_encoder[0], 2 * (R - E))
    np.testing.assert_array_equal(to_encoder[1], np.zeros((2, 2)))
    np.testing.assert_array_equal(gradients(reconstruction_loss)[0], np.zeros((2, 2)))


def test_the_noises_loss_is_least_at_the_errors_root_less_the_offset_and_moves_the_noise_alone():
    # sqrt(.49) - .5 = .2
    by_noise, by_error = jax.grad(noise_loss, argnums=(0, 1))(jnp.float32(0.2), jnp.float32(0.49), 0.5)
    np.testing.assert_allclose(by_noise, 0.0, atol=1e-5)
    assert by_error == 0.0
    assert noise_loss(jnp.float32(0.3), jnp.float32(0.49), 0.5) == pytest.approx(0.49 / (2 * 0.64) + np.log(0.8))
    assert jax.grad(noise_loss)(jnp.float32(0.3), jnp.float32(0.49), 0.5) > 0
