"""Sharding over devices: a mesh with the axis "data", sharded batches, and many steps in one compiled call.

The devices may belong to several processes; each process provides the shards of its own devices.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sid_jax.errors import DeviceWarning, UserError
from sid_jax.streams import stream_key

# The packages that give JAX access to each kind of device.
_PLUGINS = {
    "CUDA": ("jax_cuda12_plugin", "jax_cuda13_plugin"),
    "ROCm": ("jax_rocm60_plugin", "jax_rocm7_plugin"),
    "TPU": ("libtpu",),
}


def all_devices() -> Mesh:
    """Returns a mesh of all devices along "data"; warns if they are CPUs although JAX is installed for accelerators."""
    _warn_of_the_cpu()
    # With the default axis type, Explicit, look-ups in a codebook would raise a sharding error.
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


@functools.cache
def _warn_of_the_cpu() -> None:
    made_for = [name for name, plugins in _PLUGINS.items() if any(map(importlib.util.find_spec, plugins))]
    if made_for and jax.default_backend() == "cpu" and not os.environ.get("JAX_PLATFORMS"):
        warnings.warn(
            f"JAX is installed for {made_for[0]} but finds no such device, so this run uses the CPU. Check the "
            "driver, or set JAX_PLATFORMS=cpu to use the CPU without this warning",
            DeviceWarning,
            stacklevel=3,
        )


def refuse_uneven_batches(batch_size: int, mesh: Mesh) -> None:
    """Raises a UserError if the batch size is not a multiple of the number of devices in the mesh."""
    if batch_size % mesh.size:
        raise UserError(
            f"config.train.batch_size is {batch_size}, which cannot be divided among {mesh.size} devices; set a "
            f"multiple of {mesh.size}"
        )


def on_every_device(tree: Any, mesh: Mesh) -> Any:
    """Returns a tree's arrays replicated on every device of the mesh; all processes must have the same values."""
    everywhere = NamedSharding(mesh, PartitionSpec())

    def put(leaf: Any) -> jax.Array:
        array = np.asarray(leaf)
        # `device_put` is not used, since it would send the array to the other processes to compare the values.
        return jax.make_array_from_callback(array.shape, everywhere, array.__getitem__)

    return jax.tree.map(put, tree)


def abstract_on_every_device(shapes: Any, mesh: Mesh) -> Any:
    """Returns a tree of `jax.ShapeDtypeStruct`s for arrays that are replicated on every device of the mesh."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), shapes)


def share_out(shape: tuple[int, ...], mesh: Mesh, read: Callable[[Any], np.ndarray], *, axis: int = 0) -> jax.Array:
    """Returns an array that is sharded along an axis over the devices of the mesh.

    Args:
      shape: shape of the whole array.
      mesh: the devices. Their number must divide the length of the axis.
      read: returns the shard at an index, which is a tuple of slices. It is called only for the shards of this
        process's devices.
      axis: the sharded axis.
    """
    return jax.make_array_from_callback(shape, NamedSharding(mesh, PartitionSpec(*[None] * axis, "data")), read)


def epoch_order(seed: int | jax.Array, epoch: jax.Array, num_examples: int, length: int) -> jax.Array:
    """Returns an epoch's examples in random order, `[length]` int32; the first examples repeat to fill `length`."""
    order = jax.random.permutation(stream_key(seed, "shuffle", epoch), num_examples)
    return order[jnp.arange(length) % num_examples]


def scan_steps(
    take_step: Callable[[Any, jax.Array], tuple[Any, Any]],
    state: Any,
    *,
    seed: int | jax.Array,
    num_examples: int,
    batch_size: int,
    num_steps: int,
    mesh: Mesh,
    order: jax.Array | None = None,
) -> tuple[Any, Any]:
    """Calls `take_step` `num_steps` times with `lax.scan`; for use inside a jitted function.

    Args:
      take_step: takes a state and the examples of a batch, `[B]` int32; returns the next state and the step's metrics.
      state: the first state. Its int32 scalar `step` determines the position in the epoch.
      seed: seed of the shuffled order; may be traced.
      num_examples: number of examples; an epoch is the smallest number of batches that contains all of them.
      batch_size: B.
      num_steps: number of steps.
      mesh: the devices; each batch is sharded over the axis "data".
      order: the `epoch_order` of the first step's epoch; None computes it here. Drawing the order of a million examples
        takes as long as 25 steps.

    Returns:
      The last state, and the metrics with a leading axis of `num_steps`, all replicated on every device.
    """
    shared_out = NamedSharding(mesh, PartitionSpec("data"))
    steps_per_epoch = -(-num_examples // batch_size)

    def order_of(step: jax.Array) -> jax.Array:
        return epoch_order(seed, step // steps_per_epoch, num_examples, steps_per_epoch * batch_size)

    def one_step(carry: tuple[Any, jax.Array], _: None) -> tuple[tuple[Any, jax.Array], Any]:
        state, order = carry
        position = state.step % steps_per_epoch
        order = jax.lax.cond(position == 0, lambda: order_of(state.step), lambda: order)
        examples = jax.lax.dynamic_slice_in_dim(order, position * batch_size, batch_size)
        state, metrics = take_step(state, jax.lax.with_sharding_constraint(examples, shared_out))
        return (state, order), metrics

    order = order_of(state.step) if order is None else order
    (state, _), metrics = jax.lax.scan(one_step, (state, order), None, length=num_steps)
    return jax.lax.with_sharding_constraint((state, metrics), NamedSharding(mesh, PartitionSpec()))
