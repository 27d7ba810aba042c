"""The product in every linear map: XLA's, mixed in precision if asked for, with gradients that are quick on CPUs."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint


def matmul(
    values: jax.Array, kernel: jax.Array, precision: jax.lax.Precision | None = None, *, mixed: bool = False
) -> jax.Array:
    """Returns `[..., F] @ [F, G]`.

    Args:
      values: `[..., F]`.
      kernel: `[F, G]`.
      precision: of the product, and of those of its gradients.
      mixed: whether their factors, float32, are rounded to bfloat16 before; sums are float32 still.
    """
    rows = values.reshape(-1, values.shape[-1])
    return _matmul(rows, kernel, precision, mixed).reshape(*values.shape[:-1], kernel.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _matmul(rows: jax.Array, kernel: jax.Array, precision: jax.lax.Precision | None, mixed: bool) -> jax.Array:
    return _product(precision, mixed)(_factor(rows, mixed), _factor(kernel, mixed))


def _matmul_forward(
    rows: jax.Array, kernel: jax.Array, precision: jax.lax.Precision | None, mixed: bool
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    rows, kernel = _written_once(_factor(rows, mixed)), _factor(kernel, mixed)
    return _product(precision, mixed)(rows, kernel), (rows, kernel)


def _matmul_backward(
    precision: jax.lax.Precision | None, mixed: bool, kept: tuple[jax.Array, jax.Array], grads: jax.Array
) -> tuple[jax.Array, jax.Array]:
    rows, kernel = kept
    grads = _written_once(_factor(grads, mixed))
    product = _product(precision, mixed)
    # The kernel as it lies in memory, without a transposed copy.
    of_rows = jax.lax.dot_general(grads, kernel, (((1,), (1,)), ((), ())), **product.keywords)
    return of_rows, product(_transposed(rows), grads)


def _factor(values: jax.Array, mixed: bool) -> jax.Array:
    return values.astype(jnp.bfloat16) if mixed else values


def _product(precision: jax.lax.Precision | None, mixed: bool) -> functools.partial[jax.Array]:
    wanted = jnp.float32 if mixed else None
    return functools.partial(jnp.matmul, precision=precision, preferred_element_type=wanted)


def _written_once(values: jax.Array) -> jax.Array:
    """Returns the values, which XLA for CPUs would else compute anew, by columns, wherever they are transposed."""
    return jax.lax.optimization_barrier(values) if jax.default_backend() == "cpu" else values


def _transposed(rows: jax.Array) -> jax.Array:
    """Returns `[T, F].T`, in CPU memory in that order: XLA's product is slow if it must read its left side by columns.

    Without the constraint XLA leaves the rows where they are and transposes no more than their description.
    """
    # Of several devices each would be given all rows: the constraint is beyond what XLA knows how to share out.
    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return rows.T
    return with_layout_constraint(rows.T, Layout((0, 1)))


_matmul.defvjp(_matmul_forward, _matmul_backward)
