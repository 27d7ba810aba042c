"""The layers of the recommenders, compared with plain implementations."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sid_jax.recommend.models.layers import MASKED, Attention, gelu


def _plain_attention(attention, source, bias):
    keys, values = attention.keys_values(source)
    queries = attention.query(source).reshape(keys.shape) * attention.head_features**-0.5
    weights = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", queries, keys) + bias, axis=-1)
    mixed = jnp.einsum("bhts,bshd->bthd", weights, values)
    return attention.out(mixed.reshape(source.shape))


def test_attention_is_a_softmax_over_what_is_visible():
    """Values and gradients equal those of plain softmax, also for large logits and a query that attends to no key."""
    attention = Attention(8, 2, rngs=nnx.Rngs(0))
    source = 30 * jax.random.normal(jax.random.key(0), (2, 5, 8))
    visible = jnp.tril(jnp.ones((5, 5), bool)).at[3].set(False)
    bias = jnp.where(visible, jax.random.normal(jax.random.key(1), (1, 2, 5, 5)), MASKED)

    @jax.jit
    def ours(source, bias):
        return attention(*attention.queries_keys_values(source), bias)

    @jax.jit
    def plain(source, bias):
        return _plain_attention(attention, source, bias)

    np.testing.assert_allclose(ours(source, bias), plain(source, bias), rtol=1e-4, atol=1e-4)
    apart = attention(attention.queries(source), attention.keys_values(source), bias)
    np.testing.assert_allclose(ours(source, bias), apart, rtol=1e-4, atol=1e-4)
    assert np.isfinite(ours(source, bias)).all()
    for mine, other in zip(
        *(
            jax.jit(jax.grad(lambda s, b, f=f: jnp.sum(f(s, b) ** 2), argnums=(0, 1)))(source, bias)
            for f in (ours, plain)
        ),
        strict=True,
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-2)


def test_gelu_and_its_gradient_are_the_formulas():
    """The formula is the tanh form of x Phi(x). Its derivative is computed by central differences in float64."""
    x = np.linspace(-5, 5, 101)

    def formula(x):
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    np.testing.assert_allclose(gelu(jnp.asarray(x, jnp.float32)), formula(x), atol=1e-6)
    slope = jax.vmap(jax.grad(gelu))(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(slope, (formula(x + 1e-5) - formula(x - 1e-5)) / 2e-5, atol=1e-5)
