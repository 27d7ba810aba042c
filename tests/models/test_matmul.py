import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sid_jax.models.matmul import matmul


@pytest.mark.parametrize("shape", [(5, 3), (2, 7, 3), (2, 3, 4, 3)])
@pytest.mark.parametrize("width", [2, 9])
def test_matmul_has_the_values_and_gradients_of_a_plain_product(shape, width):
    """The kernel's gradient goes another way for a kernel that widens than for one that narrows."""
    values = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (shape[-1], width))
    weight = jax.random.normal(jax.random.key(2), (*shape[:-1], width))

    def gradients(product):
        return jax.grad(lambda v, k: jnp.sum(weight * product(v, k)), argnums=(0, 1))(values, kernel)

    np.testing.assert_allclose(matmul(values, kernel), values @ kernel, rtol=1e-5, atol=1e-6)
    for ours, plain in zip(gradients(matmul), gradients(jnp.matmul), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)
