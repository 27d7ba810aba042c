"""What the recommenders are built of, against the plain way to write it."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sid_jax.recommend.models.layers import MASKED, Attention


def _plain_attention(attention, source, bias):
    keys, values = attention.keys_values(source)
    queries = attention.query(source).reshape(keys.shape) * attention.head_features**-0.5
    weights = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", queries, keys) + bias, axis=-1)
    mixed = jnp.einsum("bhts,bshd->bthd", weights, values)
    return attention.out(mixed.reshape(source.shape))


def test_attention_is_a_softmax_over_what_is_visible():
    """Values and gradients, with large logits, and a query that sees nothing."""
    attention = Attention(8, 2, rngs=nnx.Rngs(0))
    source = 30 * jax.random.normal(jax.random.key(0), (2, 5, 8))
    visible = jnp.tril(jnp.ones((5, 5), bool)).at[3].set(False)
    bias = jnp.where(visible, jax.random.normal(jax.random.key(1), (1, 2, 5, 5)), MASKED)

    def ours(source, bias):
        return attention(source, attention.keys_values(source), bias)

    def plain(source, bias):
        return _plain_attention(attention, source, bias)

    np.testing.assert_allclose(ours(source, bias), plain(source, bias), rtol=1e-4, atol=1e-4)
    assert np.isfinite(ours(source, bias)).all()
    for mine, other in zip(
        *(jax.grad(lambda s, b, f=f: jnp.sum(f(s, b) ** 2), argnums=(0, 1))(source, bias) for f in (ours, plain)),
        strict=True,
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-2)
