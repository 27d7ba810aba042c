"""Sets the memory order of the operands of matrix products, which determines the speed of the products on CPUs."""

from __future__ import annotations

import jax
from jax.experimental.layout import Layout, with_layout_constraint


def written_once(values: jax.Array) -> jax.Array:
    """Returns values, on CPUs behind an optimization barrier. Without it, XLA recomputes them for each transpose."""
    return jax.lax.optimization_barrier(values) if jax.default_backend() == "cpu" else values


def transposed(rows: jax.Array) -> jax.Array:
    """Returns the transpose of rows `[T, F]`. On a single CPU device, the data is copied to row-major order.

    On CPUs, XLA's matrix product is slow if it reads its left operand by columns. Without the layout constraint, XLA
    changes only the strides and does not move the data.
    """
    # XLA cannot shard the layout constraint. With several devices, each device would therefore get all rows.
    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return rows.T
    return with_layout_constraint(rows.T, Layout((0, 1)))
