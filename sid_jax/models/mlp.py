"""The multi-layer perceptron that encoder and decoder are made of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.models.matmul import matmul

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": nnx.silu,
    "relu": nnx.relu,
    # The exact one, as PyTorch's default is.
    "gelu": functools.partial(nnx.gelu, approximate=False),
}


class MLP(nnx.Module):
    """Linear layers with an activation, and dropout if asked for, between them; none after the last.

    Args:
      dimensions: features of the input, of each hidden layer, and of the output; a single one makes it the identity.
      activation: a name in `ACTIVATIONS`.
      dropout: share of hidden activations dropped when a key is given.
      shortcut: whether the input also goes to the output by a linear map of its own. The layers then start with an
        output of 0, so that the whole starts as that map: `x W + MLP(x)`.
      rngs: for the kernels (LeCun normal); biases start at 0.
    """

    def __init__(
        self,
        dimensions: Sequence[int],
        *,
        activation: str = "silu",
        dropout: float = 0.0,
        shortcut: bool = False,
        rngs: nnx.Rngs,
    ):
        self.layers = nnx.List(
            linear(fan_in, fan_out, rngs) for fan_in, fan_out in zip(dimensions[:-1], dimensions[1:], strict=True)
        )
        self.shortcut = nnx.data(linear(dimensions[0], dimensions[-1], rngs, use_bias=False) if shortcut else None)
        if shortcut:
            self.layers[-1].kernel[...] = jnp.zeros_like(self.layers[-1].kernel[...])
        self.activation = activation
        self.dropout = dropout

    def __call__(self, inputs: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Maps `[..., D]` to `[..., D']`; without a key nothing is dropped."""
        if not self.layers:
            return inputs
        keys = [None] * len(self.layers) if key is None else list(jax.random.split(key, len(self.layers)))
        hidden = inputs
        for layer, layer_key in zip(self.layers[:-1], keys[:-1], strict=True):
            hidden = _dropout(ACTIVATIONS[self.activation](layer(hidden)), self.dropout, layer_key)
        outputs = self.layers[-1](hidden)
        return outputs if self.shortcut is None else outputs + self.shortcut(inputs)


def linear(fan_in: int, fan_out: int, rngs: nnx.Rngs, *, use_bias: bool = True) -> nnx.Linear:
    """Returns a linear layer in float32 at the highest precision: what export encodes is what training encoded."""
    return nnx.Linear(
        fan_in, fan_out, use_bias=use_bias, precision=jax.lax.Precision.HIGHEST, dot_general=_dot_general, rngs=rngs
    )


def _dot_general(inputs: jax.Array, kernel: jax.Array, _: Any, *, precision: jax.lax.Precision, **__: Any) -> jax.Array:
    return matmul(inputs, kernel, precision)


def _dropout(hidden: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    if key is None or rate == 0.0:
        return hidden
    kept = jax.random.bernoulli(key, 1.0 - rate, hidden.shape)
    return jnp.where(kept, hidden / (1.0 - rate), 0.0)
