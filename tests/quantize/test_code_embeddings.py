import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sid_jax.quantize.estimators import code_embeddings
from sid_jax.quantize.nearest import assign_codes
from sid_jax.quantize.residual import residual_quantize

# The arguments of the quantizer for each estimator of joint training.
CHOICES = {
    "ste": {"method": "ste"},
    "gumbel": {"method": "gumbel_softmax", "hard": True, "noise_scale": 0.3},
    "soft": {"method": "gumbel_softmax", "hard": False, "key": None},
}


@pytest.fixture
def arrays(key):
    keys = jax.random.split(key, 7)
    codebooks = [jax.random.normal(keys[level], (8 + level, 4)) / 2**level for level in range(3)]
    tables = [jax.random.normal(keys[3 + level], (8 + level, 5)) for level in range(3)]
    return jax.random.normal(keys[6], (50, 4)), codebooks, tables


@functools.partial(jax.jit, static_argnames="choice")
def embedded(latents, codebooks, tables, key, choice):
    output = residual_quantize(latents, codebooks, **{"key": key, "temperature": 0.5, **CHOICES[choice]})
    return output, code_embeddings(output.weights, tables)


@pytest.mark.parametrize("choice", CHOICES)
def test_gradients_reach_latents_codebooks_and_tables_of_every_level(choice, arrays, key):
    def loss(latents, codebooks, tables):
        return jnp.sum(jnp.square(embedded(latents, codebooks, tables, key, choice)[1]))

    latents, codebooks, tables = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*arrays)
    for gradient in (latents, *codebooks, *tables):
        assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("choice", ["ste", "gumbel"])
def test_a_hard_choice_is_a_look_up_bit_for_bit(choice, arrays, key):
    output, embeddings = embedded(*arrays, key, choice)
    for level, table in enumerate(arrays[2]):
        np.testing.assert_array_equal(embeddings[:, level], table[output.codes[:, level]])


def test_without_noise_every_choice_ends_at_the_codes_of_export(arrays, key):
    latents, codebooks, tables = arrays
    codes = assign_codes(latents, codebooks)
    expected = jnp.stack([table[codes[:, level]] for level, table in enumerate(tables)], axis=1)
    for choice in CHOICES:
        options = {**CHOICES[choice], "key": key, "noise_scale": 0.0, "temperature": 1e-6}
        weights = residual_quantize(latents, codebooks, **options).weights
        np.testing.assert_allclose(code_embeddings(weights, tables), expected, atol=1e-6, err_msg=choice)


def test_the_backward_pass_is_that_of_the_soft_assignment(arrays):
    # The method "ste" chooses one code per level. Yet the gradient with respect to the first codebook is that of a soft
    # choice, in which the embedding is the mean of the code embeddings, weighted by softmax(scores / temperature).
    latents, codebooks, tables = arrays

    direction = jnp.broadcast_to(jnp.arange(5.0), (50, 1, 5))

    def total(codebook, **choice):
        weights = residual_quantize(latents, [codebook], temperature=0.5, **choice).weights
        return jnp.sum(direction * code_embeddings(weights, tables[:1]))

    hard = jax.grad(total)(codebooks[0], method="ste")
    soft = jax.grad(total)(codebooks[0], method="gumbel_softmax", hard=False)
    np.testing.assert_allclose(hard, soft, rtol=1e-4, atol=1e-5)


def test_tables_of_another_shape_are_refused(arrays, key):
    latents, codebooks, tables = arrays
    with pytest.raises(ValueError, match=r"the tables have \[8, 9\] rows"):
        embedded(latents, codebooks, tables[:2], key, "ste")
