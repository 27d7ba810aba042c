"""Many optimizer steps in one compiled call, each on the next batch of its epoch's order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sid_jax.streams import stream_key


def epoch_order(seed: int | jax.Array, epoch: jax.Array, num_examples: int, length: int) -> jax.Array:
    """Returns the examples of an epoch in their order, `[length]` int32; the head is repeated at the end."""
    order = jax.random.permutation(stream_key(seed, "shuffle", epoch), num_examples)
    return order[jnp.arange(length) % num_examples]


def scan_steps(
    take_step: Callable[[Any, jax.Array], tuple[Any, Any]],
    state: Any,
    *,
    seed: int | jax.Array,
    num_examples: int,
    steps_per_epoch: int,
    batch_size: int,
    num_steps: int,
    mesh: Mesh,
) -> tuple[Any, Any]:
    """Calls `take_step(state, examples [B] int32)` many times; for use inside a jit.

    Args:
      take_step: returns the state after a step, and the step's metrics.
      state: has a `step`, an int32 scalar, from which the place in the epoch follows.
      seed: of the order; it may be traced.
      num_examples: that an epoch goes through.
      steps_per_epoch: batches that hold them all.
      batch_size: B.
      num_steps: how many steps.
      mesh: its "data" axis shares out each batch.

    Returns:
      The state and each metric, which has a leading axis of `num_steps`, on every device.
    """
    shared_out = NamedSharding(mesh, PartitionSpec("data"))

    def order_of(step: jax.Array) -> jax.Array:
        return epoch_order(seed, step // steps_per_epoch, num_examples, steps_per_epoch * batch_size)

    def one_step(carry: tuple[Any, jax.Array], _: None) -> tuple[tuple[Any, jax.Array], Any]:
        state, order = carry
        position = state.step % steps_per_epoch
        order = jax.lax.cond(position == 0, lambda: order_of(state.step), lambda: order)
        examples = jax.lax.dynamic_slice_in_dim(order, position * batch_size, batch_size)
        state, metrics = take_step(state, jax.lax.with_sharding_constraint(examples, shared_out))
        return (state, order), metrics

    (state, _), metrics = jax.lax.scan(one_step, (state, order_of(state.step)), None, length=num_steps)
    return jax.lax.with_sharding_constraint((state, metrics), NamedSharding(mesh, PartitionSpec()))
