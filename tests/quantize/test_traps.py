"""Known faults of other residual quantizers, injected on purpose: each check must detect its fault.

Here, the checks of `test_residual.py` and of other tests are applied to a correct and to a faulty implementation.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sid_jax.quantize.estimators import gumbel_softmax, straight_through
from sid_jax.quantize.losses import codebook_loss
from sid_jax.quantize.nearest import assign_codes, nearest_codes
from sid_jax.quantize.residual import residual_quantize

LEVELS = 3


@pytest.fixture
def latents(key):
    return jax.random.normal(key, (6, 4))


@pytest.fixture
def codebooks(key):
    return [jax.random.normal(jax.random.fold_in(key, level), (8, 4)) / 2**level for level in range(1, LEVELS + 1)]


def ours(latents, codebooks):
    output = residual_quantize(latents, codebooks)
    return output.quantized, output.residuals


def residual_minus_straight_through(latents, codebooks):
    residual, total, residuals = latents, 0.0, []
    for codebook in codebooks:
        residuals.append(residual)
        taken = straight_through(residual, codebook[nearest_codes(residual, codebook)])
        total, residual = total + taken, residual - taken
    return total, jnp.stack(residuals, 1)


def straight_through_a_level(latents, codebooks):
    residual, total, residuals = latents, 0.0, []
    for codebook in codebooks:
        residuals.append(residual)
        codeword = codebook[nearest_codes(residual, codebook)]
        total = total + straight_through(residual, codeword)
        residual = residual - jax.lax.stop_gradient(codeword)
    return total, jnp.stack(residuals, 1)


def check_sum_has_the_identity(walk, latents, codebooks):
    jacobian = jax.jacobian(lambda z: walk(z[None], codebooks)[0][0])(latents[0])
    np.testing.assert_allclose(jacobian, np.eye(4), atol=1e-6)


def check_every_residual_reaches_the_encoder(walk, latents, codebooks):
    for level in range(LEVELS):
        gradient = jax.grad(lambda z, level=level: jnp.square(walk(z, codebooks)[1][:, level]).sum())(latents)
        assert np.abs(gradient).min() > 0, f"level {level + 1} sends no gradient to the encoder"


def test_our_walk_passes_both_checks(latents, codebooks):
    check_sum_has_the_identity(ours, latents, codebooks)
    check_every_residual_reaches_the_encoder(ours, latents, codebooks)


def test_residual_minus_the_straight_through_output_is_seen(latents, codebooks):
    with pytest.raises(AssertionError, match="level 2 sends no gradient"):
        check_every_residual_reaches_the_encoder(residual_minus_straight_through, latents, codebooks)


def test_a_straight_through_at_every_level_is_seen(latents, codebooks):
    with pytest.raises(AssertionError):
        check_sum_has_the_identity(straight_through_a_level, latents, codebooks)


def check_codebook_loss_moves_the_codebook(loss, latents, codebook):
    assert np.abs(jax.grad(lambda c: loss(latents, c))(codebook)).max() > 0


def test_a_codebook_loss_after_the_straight_through_patch_is_seen(latents, codebooks):
    def right(latents, codebook):
        return codebook_loss(latents, codebook[nearest_codes(latents, codebook)]).sum()

    def patched(latents, codebook):
        return codebook_loss(latents, straight_through(latents, codebook[nearest_codes(latents, codebook)])).sum()

    check_codebook_loss_moves_the_codebook(right, latents, codebooks[0])
    with pytest.raises(AssertionError):
        check_codebook_loss_moves_the_codebook(patched, latents, codebooks[0])


def check_temperature_leaves_samples_alone(sample, key):
    scores = jnp.broadcast_to(jnp.log(jnp.array([0.6, 0.4])), (20_000, 2))
    for temperature in (0.1, 2.0):
        assert abs(np.mean(sample(scores, key, temperature) == 0) - 0.6) < 0.02


def test_a_temperature_that_divides_twice_is_seen(key):
    def right(scores, key, temperature):
        return gumbel_softmax(scores, key, temperature=temperature)[1]

    check_temperature_leaves_samples_alone(right, key)
    with pytest.raises(AssertionError):
        check_temperature_leaves_samples_alone(lambda s, k, t: right(s / t, k, t), key)


def test_annealing_the_temperature_alone_leaves_training_codes_apart_from_exported_ones(latents, codebooks, key):
    latents = jax.random.normal(key, (2000, 4))

    def agreement(**choices):
        codes = residual_quantize(latents, codebooks, method="gumbel_softmax", key=key, **choices).codes
        return np.all(codes == assign_codes(latents, codebooks), axis=-1).mean()

    assert agreement(temperature=0.05, noise_scale=1.0) < 0.5
    assert agreement(temperature=0.05, noise_scale=0.0) == 1.0
