import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sid_jax.models.mlp import matmul


@pytest.mark.parametrize("shape", [(5, 3), (2, 7, 3), (2, 3, 4, 3)])
@pytest.mark.parametrize("width", [2, 9])
def test_matmul_has_the_values_and_gradients_of_a_plain_product(shape, width):
    """The kernel's gradient is computed differently for kernels with more outputs than inputs."""
    values = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (shape[-1], width))
    weight = jax.random.normal(jax.random.key(2), (*shape[:-1], width))

    def gradients(product):
        return jax.grad(lambda v, k: jnp.sum(weight * product(v, k)), argnums=(0, 1))(values, kernel)

    np.testing.assert_allclose(matmul(values, kernel), values @ kernel, rtol=1e-5, atol=1e-6)
    for ours, plain in zip(gradients(matmul), gradients(jnp.matmul), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [2, 9])
def test_mixed_products_are_those_of_rounded_factors_and_all_that_comes_out_is_float32(width):
    values = jax.random.normal(jax.random.key(0), (5, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, width))
    weight = jax.random.normal(jax.random.key(2), (5, width))

    def rounded(array):
        return np.asarray(array.astype(jnp.bfloat16), np.float64)

    product, gradients = jax.value_and_grad(lambda v, k: jnp.sum(weight * matmul(v, k, mixed=True)), (0, 1))(
        values, kernel
    )
    np.testing.assert_allclose(product, (np.asarray(weight) * (rounded(values) @ rounded(kernel))).sum(), rtol=1e-5)
    np.testing.assert_allclose(gradients[0], rounded(weight) @ rounded(kernel).T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradients[1], rounded(values).T @ rounded(weight), rtol=1e-5, atol=1e-5)
    assert {each.dtype for each in gradients} == {jnp.dtype(jnp.float32)}
