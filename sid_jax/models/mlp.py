"""The multi-layer perceptron (MLP) used as encoder and as decoder."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.models.quantizer import Statistic
from sid_jax.quantize.memory_order import transposed, written_once


def matmul(
    values: jax.Array, kernel: jax.Array, precision: jax.lax.Precision | None = None, *, mixed: bool = False
) -> jax.Array:
    """Returns `[..., F] @ [F, G]`; the precision also applies to the matrix products of the gradients.

    If `mixed`, float32 operands are rounded to bfloat16 before each product; sums stay float32.
    """
    rows = values.reshape(-1, values.shape[-1])
    return _matmul(rows, kernel, precision, mixed).reshape(*values.shape[:-1], kernel.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _matmul(rows: jax.Array, kernel: jax.Array, precision: jax.lax.Precision | None, mixed: bool) -> jax.Array:
    return _product(precision, mixed)(_factor(rows, mixed), _factor(kernel, mixed))


def _matmul_forward(
    rows: jax.Array, kernel: jax.Array, precision: jax.lax.Precision | None, mixed: bool
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    rows, kernel = written_once(_factor(rows, mixed)), _factor(kernel, mixed)
    return _product(precision, mixed)(rows, kernel), (rows, kernel)


def _matmul_backward(
    precision: jax.lax.Precision | None, mixed: bool, kept: tuple[jax.Array, jax.Array], grads: jax.Array
) -> tuple[jax.Array, jax.Array]:
    rows, kernel = kept
    grads = written_once(_factor(grads, mixed))
    product = _product(precision, mixed)
    # This is the product with the transposed kernel. `dot_general` reads the kernel without making a transposed copy.
    of_rows = jax.lax.dot_general(grads, kernel, (((1,), (1,)), ((), ())), **product.keywords)
    return of_rows, product(transposed(rows), grads)


def _factor(values: jax.Array, mixed: bool) -> jax.Array:
    return values.astype(jnp.bfloat16) if mixed else values


def _product(precision: jax.lax.Precision | None, mixed: bool) -> functools.partial[jax.Array]:
    wanted = jnp.float32 if mixed else None
    return functools.partial(jnp.matmul, precision=precision, preferred_element_type=wanted)


_matmul.defvjp(_matmul_forward, _matmul_backward)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": nnx.silu,
    "relu": nnx.relu,
    # The exact form of GELU, which is PyTorch's default.
    "gelu": functools.partial(nnx.gelu, approximate=False),
}


class MLP(nnx.Module):
    """Linear layers. An activation and optional dropout follow each layer except the last one.

    Args:
      dimensions: number of features of the input, of each hidden layer, and of the output; with a single number, the
        module is the identity.
      activation: a name in `ACTIVATIONS`.
      dropout: share of hidden activations dropped when a key is given.
      shortcut: whether a linear map of the input is added to the output: `x W + MLP(x)`. The last layer's kernel is
        then initialized as 0, so that the module is initially that linear map.
      fitted: whether kernels and biases are fitted to the data and not updated by optimizers.
      rngs: random number generators of the kernels (LeCun normal); biases are initialized as 0.
    """

    def __init__(
        self,
        dimensions: Sequence[int],
        *,
        activation: str = "silu",
        dropout: float = 0.0,
        shortcut: bool = False,
        fitted: bool = False,
        rngs: nnx.Rngs,
    ):
        self.layers = nnx.List(
            nnx.Linear(fan_in, fan_out, rngs=rngs) for fan_in, fan_out in itertools.pairwise(dimensions)
        )
        given: Any = self.layers if fitted else ()
        for layer in given:
            layer.kernel, layer.bias = Statistic(layer.kernel[...]), Statistic(layer.bias[...])
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
          key: PRNG key of the dropout; None disables dropout.
          mixed: whether matrix products round their operands to bfloat16 (see `matmul`).
        """
        if not self.layers:
            return inputs
        keys = [None] * len(self.layers) if key is None else list(jax.random.split(key, len(self.layers)))
        hidden = inputs
        for layer, layer_key in zip(self.layers[:-1], keys[:-1], strict=True):
            hidden = ACTIVATIONS[self.activation](apply_linear(layer, hidden, mixed=mixed))
            if layer_key is not None and self.dropout:
                kept = jax.random.bernoulli(layer_key, 1.0 - self.dropout, hidden.shape)
                hidden = jnp.where(kept, hidden / (1.0 - self.dropout), 0.0)
        outputs = apply_linear(self.layers[-1], hidden, mixed=mixed)
        return outputs if self.shortcut is None else outputs + apply_linear(self.shortcut, inputs, mixed=mixed)


def apply_linear(layer: nnx.Linear, inputs: jax.Array, *, mixed: bool = False) -> jax.Array:
    """Returns `[..., D] @ kernel + bias`.

    Unless `mixed`, the matrix product has the highest precision, so that training and export compute the same values.
    """
    outputs = matmul(inputs, layer.kernel[...], jax.lax.Precision.HIGHEST, mixed=mixed)
    if layer.bias is None:
        return outputs
    return outputs + jnp.broadcast_to(layer.bias[...], outputs.shape)
