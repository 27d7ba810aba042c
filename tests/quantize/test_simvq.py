import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sid_jax.models.quantizer import ResidualQuantizer
from sid_jax.quantize.codebooks import basis_of, transform_basis


def test_the_map_alone_learns():
    basis, transform = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 0.0], [0.0, 3.0]])
    np.testing.assert_array_equal(transform_basis(basis, transform), [[1.0, 6.0]])
    by_basis, by_transform = jax.jacobian(lambda c, w: transform_basis(c, w).sum(), argnums=(0, 1))(basis, transform)
    np.testing.assert_array_equal(by_basis, [[0.0, 0.0]])
    # c is the basis, and W is the map. The derivative of the sum of all elements of c W with respect to W_ij is c_i.
    np.testing.assert_array_equal(by_transform, [[1.0, 1.0], [2.0, 2.0]])


def test_the_basis_of_a_codeword_is_transformed_into_it(key):
    codewords = jax.random.normal(key, (7, 5))
    transform = jnp.eye(5) + 0.1 * jax.random.normal(jax.random.fold_in(key, 1), (5, 5))
    np.testing.assert_allclose(transform_basis(basis_of(codewords, transform), transform), codewords, atol=1e-5)


def test_a_code_that_nobody_took_moves_with_the_others(key):
    quantizer = ResidualQuantizer((4,), 2, method="simvq", rngs=nnx.Rngs(0))
    quantizer.set_codebooks([jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])])
    latents = jnp.array([[2.0, 0.1], [1.5, -0.1]])

    def loss(quantizer: ResidualQuantizer) -> jax.Array:
        output = quantizer(latents)
        assert output.codes.tolist() == [[0], [0]]
        return output.codebook_loss.sum()

    graphdef, state = nnx.split(quantizer)
    gradients = jax.grad(lambda state: loss(nnx.merge(graphdef, state)), allow_int=True)(state)
    transform = quantizer.transforms[0]
    transform[...] = transform[...] - 0.1 * gradients["transforms"][0][...]
    before, after = np.array([[1.0, 0.0], [-1.0, 0.0]]), np.asarray(quantizer.codebooks[0])[[0, 2]]
    # Both items have code 0. The gradient with respect to the first feature of the codeword of code 0 is
    # 2 (1 - 2) + 2 (1 - 1.5) = -3.
    assert after[0, 0] == pytest.approx(1.3, abs=1e-6)
    np.testing.assert_allclose(after[1], -after[0], atol=1e-6)
    assert not np.allclose(before[1], after[1])
