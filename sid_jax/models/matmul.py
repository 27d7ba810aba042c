"""The product in every linear map: XLA's, with a gradient of the kernel that is quick on CPUs."""

from __future__ import annotations

import functools

import jax


def matmul(values: jax.Array, kernel: jax.Array, precision: jax.lax.Precision | None = None) -> jax.Array:
    """Returns `[..., F] @ [F, G]`."""
    rows = values.reshape(-1, values.shape[-1])
    return _matmul(rows, kernel, precision).reshape(*values.shape[:-1], kernel.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _matmul(rows: jax.Array, kernel: jax.Array, precision: jax.lax.Precision | None) -> jax.Array:
    return jax.numpy.matmul(rows, kernel, precision=precision)


def _matmul_forward(
    rows: jax.Array, kernel: jax.Array, precision: jax.lax.Precision | None
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    rows = _written_once(rows)
    return jax.numpy.matmul(rows, kernel, precision=precision), (rows, kernel)


def _matmul_backward(
    precision: jax.lax.Precision | None, kept: tuple[jax.Array, jax.Array], grads: jax.Array
) -> tuple[jax.Array, jax.Array]:
    rows, kernel = kept
    grads = _written_once(grads)
    return jax.numpy.matmul(grads, kernel.T, precision=precision), _transposed_product(rows, grads, precision)


def _written_once(values: jax.Array) -> jax.Array:
    """Returns the values, which XLA for CPUs would else compute anew, by columns, wherever they are transposed."""
    return jax.lax.optimization_barrier(values) if jax.default_backend() == "cpu" else values


def _transposed_product(left: jax.Array, right: jax.Array, precision: jax.lax.Precision | None) -> jax.Array:
    """Returns `[T, F].T @ [T, G]`.

    XLA's product for CPUs is up to twice as slow when it must read its left side by columns, so that the narrower of
    the two is transposed before, behind a barrier, without which XLA would fold that into the product again.
    """
    product = functools.partial(jax.numpy.matmul, precision=precision)
    if jax.default_backend() != "cpu":
        return product(left.T, right)
    barrier = jax.lax.optimization_barrier
    if left.shape[1] <= right.shape[1]:
        return product(barrier(left.T), right)
    return barrier(product(barrier(right.T), left)).T


_matmul.defvjp(_matmul_forward, _matmul_backward)
