"""Memory order of the factors of matrix products. On CPUs the speed of the products depends on it."""

from __future__ import annotations

import jax
from jax.experimental.layout import Layout, with_layout_constraint


def written_once(values: jax.Array) -> jax.Array:
    """Returns the values behind an optimization barrier, since XLA for CPUs would recompute them for each transpose."""
    return jax.lax.optimization_barrier(values) if jax.default_backend() == "cpu" else values


def transposed(rows: jax.Array) -> jax.Array:
    """Returns the transpose of rows `[T, F]`, on CPUs materialized in row-major order.

    XLA's matrix product on CPUs is slow if it reads its left factor by columns. Without the layout constraint XLA only
    changes the strides and does not move the data.
    """
    # With several devices the constraint cannot be sharded: each device would get all rows.
    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return rows.T
    return with_layout_constraint(rows.T, Layout((0, 1)))
