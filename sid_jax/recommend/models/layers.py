"""Layers of the recommenders: linear maps, norms, attention, dropout."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.models.mlp import matmul

# This value is added to masked logits. It is low enough that its exponential is 0, but finite, so that a fully masked
# row does not become NaN.
MASKED = -1e9


class Linear(nnx.Module):
    """A linear layer that computes in the dtype of its input. Its parameters are float32.

    Args:
      fan_in: features of the input.
      fan_out: features of the output.
      bias: whether to add a bias.
      gain: factor on the kernel's initial standard deviation, 1 / sqrt(fan_in).
      rngs: random number generators of the kernel.
    """

    def __init__(self, fan_in: int, fan_out: int, *, bias: bool = True, gain: float = 1.0, rngs: nnx.Rngs):
        self.kernel = nnx.Param(gain * fan_in**-0.5 * jax.random.normal(rngs.params(), (fan_in, fan_out)))
        self.bias = nnx.Param(jnp.zeros(fan_out)) if bias else None

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps `[..., fan_in]` to `[..., fan_out]`."""
        outputs = matmul(inputs, self.kernel[...].astype(inputs.dtype))
        return outputs if self.bias is None else add_last(outputs, self.bias[...])


class RMSNorm(nnx.Module):
    """Divides by the root mean square of the features, in float32 (RMSNorm, Zhang and Sennrich, 1910.07467).

    Args:
      features: F, features of the input.
    """

    def __init__(self, features: int):
        self.scale = nnx.Param(jnp.ones(features))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps `[..., F]` to the same shape and dtype."""
        wide = inputs.astype(jnp.float32)
        normed = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + 1e-6)
        return (normed * jnp.expand_dims(self.scale[...], tuple(range(inputs.ndim - 1)))).astype(inputs.dtype)


class FeedForward(nnx.Module):
    """Two linear layers with GELU between them.

    Args:
      features: features of input and output.
      hidden: hidden features.
      rngs: random number generators of the kernels.
    """

    def __init__(self, features: int, hidden: int, *, rngs: nnx.Rngs):
        self.up = Linear(features, hidden, rngs=rngs)
        self.down = Linear(hidden, features, gain=_RESIDUAL_GAIN, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps `[..., F]` to the same shape."""
        return self.down(gelu(self.up(inputs)))


class GatedFeedForward(nnx.Module):
    """SwiGLU: a linear layer on the product of two linear layers, one with SiLU (Shazeer, 2002.05202).

    The arguments are those of `FeedForward`.
    """

    def __init__(self, features: int, hidden: int, *, rngs: nnx.Rngs):
        self.gate = Linear(features, hidden, rngs=rngs)
        self.up = Linear(features, hidden, rngs=rngs)
        self.down = Linear(hidden, features, gain=_RESIDUAL_GAIN, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps `[..., F]` to the same shape."""
        return self.down(jax.nn.silu(self.gate(inputs)) * self.up(inputs))


# The outputs of residual branches are initially small, so that a deep stack is initially close to the identity.
_RESIDUAL_GAIN = 0.3


class Attention(nnx.Module):
    """Multi-head attention; the caller computes queries, keys and values from their sources.

    Args:
      features: features of the sources and of the output.
      num_heads: H.
      head_features: E, features of each head; features / num_heads if None.
      rngs: random number generators of the kernels.
    """

    def __init__(self, features: int, num_heads: int, head_features: int | None = None, *, rngs: nnx.Rngs):
        self.num_heads = num_heads
        self.head_features = head_features or features // num_heads
        inner = self.num_heads * self.head_features
        self.query = Linear(features, inner, bias=False, rngs=rngs)
        self.key_value = Linear(features, 2 * inner, bias=False, rngs=rngs)
        self.out = Linear(inner, features, bias=False, gain=_RESIDUAL_GAIN, rngs=rngs)

    def queries_keys_values(self, source: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """Computes queries, keys and values, each `[..., T, H, E]`, of one source with one matrix product."""
        kernel = jnp.concatenate([self.query.kernel[...], self.key_value.kernel[...]], axis=1)
        queries, keys, values = self._by_head(matmul(source, kernel.astype(source.dtype)), 3)
        return queries, (keys, values)

    def queries(self, source: jax.Array) -> jax.Array:
        """Maps `[..., T, F]` to `[..., T, H, E]`."""
        return self._by_head(self.query(source), 1)[0]

    def keys_values(self, source: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps `[..., S, F]` to keys and values, each `[..., S, H, E]`."""
        keys, values = self._by_head(self.key_value(source), 2)
        return keys, values

    def _by_head(self, values: jax.Array, count: int) -> tuple[jax.Array, ...]:
        values = values.reshape(*values.shape[:-1], count, self.num_heads, self.head_features)
        return tuple(values[..., index, :, :] for index in range(count))

    def __call__(self, queries: jax.Array, keys_values: tuple[jax.Array, jax.Array], bias: jax.Array) -> jax.Array:
        """Attends from queries `[..., T, H, E]` to keys and values `[..., S, H, E]`; returns `[..., T, F]`.

        Args:
          queries: the result of `queries`.
          keys_values: the result of `keys_values`; each leading axis has size 1, or the size of the queries' axis.
          bias: `[..., H, T, S]` float32, added to the logits; leading axes may be 1; `MASKED` where a query must not
            attend to a key.
        """
        keys, values = keys_values
        queries = queries * self.head_features**-0.5
        logits = jnp.einsum("...thd,...shd->...hts", queries, keys, preferred_element_type=jnp.float32) + bias
        # The softmax is normalized after the sum over values, since the sum has fewer elements than the logits.
        top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
        weights = jnp.exp(logits - top)
        total = jnp.swapaxes(jnp.sum(weights, axis=-1), -1, -2)[..., None]
        mixed = jnp.einsum("...hts,...shd->...thd", weights.astype(values.dtype), values)
        mixed = (mixed / total).astype(values.dtype)
        return self.out(mixed.reshape(*mixed.shape[:-2], -1))


class DistanceBias(nnx.Module):
    """A learned bias on attention logits for each head and distance.

    Args:
      num_heads: H.
      num_distances: number of distances with separate biases; larger distances share the last bias.
      both_ways: whether keys may come after the query, as in an encoder; such keys have separate biases.
    """

    def __init__(self, num_heads: int, num_distances: int, *, both_ways: bool = False):
        self.num_distances = num_distances
        self.both_ways = both_ways
        self.bias = nnx.Param(jnp.zeros((num_heads, num_distances * (2 if both_ways else 1))))

    def __call__(self, queries: jax.Array, keys: jax.Array) -> jax.Array:
        """Returns the biases `[H, T, S]` for the positions of T queries and S keys."""
        distance = queries[:, None] - keys[None, :]
        index = jnp.clip(jnp.abs(distance) if self.both_ways else distance, 0, self.num_distances - 1)
        if self.both_ways:
            index = jnp.where(distance < 0, index + self.num_distances, index)
        return self.bias[...][:, index]


@jax.custom_vjp
def gelu(values: jax.Array) -> jax.Array:
    """Applies GELU in its tanh form (Hendrycks and Gimpel, 1606.08415).

    The gradient recomputes tanh from the inputs, which takes less time than storing the result of the forward pass.
    """
    return nnx.gelu(values)


def _gelu_backward(values: jax.Array, grads: jax.Array) -> tuple[jax.Array, ...]:
    # The barrier prevents XLA from storing the tanh of the forward pass.
    return jax.vjp(nnx.gelu, jax.lax.optimization_barrier(values))[1](grads)


gelu.defvjp(lambda values: (nnx.gelu(values), values), _gelu_backward)


def add_last(values: jax.Array, vector: jax.Array) -> jax.Array:
    """Adds a vector `[F]` to values `[..., F]`, in the dtype of the values."""
    return values + jnp.expand_dims(vector.astype(values.dtype), tuple(range(values.ndim - 1)))


def split_key(key: jax.Array | None, count: int) -> list[jax.Array | None]:
    """Splits a key into `count` keys; None, which disables dropout, gives a list of None."""
    return [None] * count if key is None else list(jax.random.split(key, count))


def dropout(values: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Sets a random share `rate` of the values to 0 and scales up the others; without a key, returns the values."""
    if key is None or rate == 0.0:
        return values
    kept = _random_bits(key, values.shape) >= jnp.uint32(round(rate * 2**32))
    return jnp.where(kept, values / (1.0 - rate), 0.0).astype(values.dtype)


def _random_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns uint32 random bits: a hash (MurmurHash3's finalizer) of each position and the key.

    On a CPU, the generators in jax.random would take a fifth of the time of a training step. The hash takes a tenth of
    the time of these generators. The bits do not depend on the sharding over devices.
    """
    seed = jax.random.key_data(key)
    place = jnp.zeros(shape, jnp.uint32)
    for axis, size in enumerate(shape):
        place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    bits = (place + seed[0]) * jnp.uint32(0x9E3779B1) ^ seed[1]
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
    return bits ^ (bits >> 16)
