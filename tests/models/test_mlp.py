import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sid_jax.models.mlp import ACTIVATIONS, MLP


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_it_is_linear_layers_with_the_activation_between_and_none_after_the_last(key, activation):
    mlp = MLP((3, 5, 4, 2), activation=activation, rngs=nnx.Rngs(0))
    inputs = jax.random.normal(key, (7, 3))
    hidden = inputs
    for number, layer in enumerate(mlp.layers):
        hidden = jnp.matmul(hidden, layer.kernel[...]) + jnp.broadcast_to(layer.bias[...], (7, layer.out_features))
        hidden = ACTIVATIONS[activation](hidden) if number < 2 else hidden
    np.testing.assert_allclose(mlp(inputs), hidden, rtol=1e-5, atol=1e-6)


def test_dropout_needs_a_key_and_keeps_the_mean(key):
    mlp = MLP((4, 2000, 1), dropout=0.5, rngs=nnx.Rngs(0))
    inputs = jnp.ones((2, 4))
    np.testing.assert_array_equal(mlp(inputs), mlp(inputs))
    one, other = mlp(inputs, key), mlp(inputs, jax.random.fold_in(key, 1))
    assert not np.array_equal(one, other)
    many = jax.vmap(lambda k: mlp(inputs, k))(jax.random.split(key, 400))
    np.testing.assert_allclose(many.mean(0), mlp(inputs), atol=0.05)


def test_without_dropout_the_key_does_not_matter(key):
    mlp = MLP((4, 8, 1), rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(mlp(jnp.ones((2, 4)), key), mlp(jnp.ones((2, 4))))
