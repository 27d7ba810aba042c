"""Parameters that get no gradient while a traced condition is true."""

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.models.frozen import with_gradient_unless

INPUTS = jnp.arange(6.0).reshape(3, 2)
KERNELS = {"first": jnp.array([[0.1, -0.2], [0.3, 0.05]]), "second": jnp.array([[1.0, 2.0], [-1.0, 0.5]])}
PARAMS = {"w": KERNELS, "v": jnp.arange(1.0, 7.0).reshape(3, 2)}


def outputs(kernels):
    return jnp.tanh(INPUTS @ kernels["first"]) @ kernels["second"]


def test_a_frozen_part_gets_no_gradient_and_the_rest_gets_the_same_one():
    def loss(params, frozen):
        return jnp.sum(with_gradient_unless(frozen, outputs, params["w"]) * params["v"])

    @jax.jit
    def steps(frozen):
        return jax.lax.scan(lambda _, each: (None, jax.value_and_grad(loss)(PARAMS, each)), None, frozen)[1]

    losses, found = steps(jnp.array([False, True, False]))
    value, expected = jax.value_and_grad(lambda params: jnp.sum(outputs(params["w"]) * params["v"]))(PARAMS)
    np.testing.assert_allclose(losses, jnp.full(3, value), rtol=1e-6)
    for step in (0, 2):
        jax.tree.map(lambda a, b, step=step: np.testing.assert_allclose(a[step], b, rtol=1e-5), found, expected)
    np.testing.assert_allclose(found["v"][1], expected["v"], rtol=1e-5)
    assert all(not leaf[1].any() for leaf in jax.tree.leaves(found["w"]))
