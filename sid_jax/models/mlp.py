"""The multi-layer perceptron that encoder and decoder are made of."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

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
            nnx.Linear(fan_in, fan_out, rngs=rngs) for fan_in, fan_out in itertools.pairwise(dimensions)
        )
        self.shortcut = nnx.data(
            nnx.Linear(dimensions[0], dimensions[-1], use_bias=False, rngs=rngs) if shortcut else None
        )
        if shortcut:
            self.layers[-1].kernel[...] = jnp.zeros_like(self.layers[-1].kernel[...])
        self.activation = activation
        self.dropout = dropout

    def __call__(self, inputs: jax.Array, key: jax.Array | None = None, *, mixed: bool = False) -> jax.Array:
        """Maps `[..., D]` to `[..., D']` float32.

        Args:
          inputs: float32.
          key: PRNG key of the dropout; None drops nothing.
          mixed: whether products round their factors to bfloat16 (see `matmul`).
        """
        if not self.layers:
            return inputs
        keys = [None] * len(self.layers) if key is None else list(jax.random.split(key, len(self.layers)))
        hidden = inputs
        for layer, layer_key in zip(self.layers[:-1], keys[:-1], strict=True):
            hidden = ACTIVATIONS[self.activation](apply_linear(layer, hidden, mixed=mixed))
            hidden = _dropout(hidden, self.dropout, layer_key)
        outputs = apply_linear(self.layers[-1], hidden, mixed=mixed)
        return outputs if self.shortcut is None else outputs + apply_linear(self.shortcut, inputs, mixed=mixed)


def apply_linear(layer: nnx.Linear, inputs: jax.Array, *, mixed: bool = False) -> jax.Array:
    """Returns `[..., D] @ kernel + bias`, unless mixed at the highest precision: training encodes as export does."""
    outputs = matmul(inputs, layer.kernel[...], jax.lax.Precision.HIGHEST, mixed=mixed)
    if layer.bias is None:
        return outputs
    return outputs + jnp.broadcast_to(layer.bias[...], outputs.shape)


def _dropout(hidden: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    if key is None or rate == 0.0:
        return hidden
    kept = jax.random.bernoulli(key, 1.0 - rate, hidden.shape)
    return jnp.where(kept, hidden / (1.0 - rate), 0.0)
