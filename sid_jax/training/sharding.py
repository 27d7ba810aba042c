"""The devices: one mesh with one named axis, batches shared out over it, and many steps in one compiled call.

The devices may be those of several processes, each of which puts on its own ones what belongs there.
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

# The packages that JAX finds devices by.
_PLUGINS = {
    "CUDA": ("jax_cuda12_plugin", "jax_cuda13_plugin"),
    "ROCm": ("jax_rocm60_plugin", "jax_rocm7_plugin"),
    "TPU": ("libtpu",),
}


def all_devices() -> Mesh:
    """Returns a mesh of all devices along "data"; warns where these are CPUs and JAX is installed for others."""
    _warn_of_the_cpu()
    # The axis type is named: under the default, Explicit, look-ups in a codebook raise a sharding error.
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


@functools.cache
def _warn_of_the_cpu() -> None:
    made_for = [name for name, plugins in _PLUGINS.items() if any(map(importlib.util.find_spec, plugins))]
    if made_for and jax.default_backend() == "cpu" and not os.environ.get("JAX_PLATFORMS"):
        warnings.warn(
            f"JAX is installed for {made_for[0]} but finds no such device: this run uses the CPU. See that the driver "
            "works, or set JAX_PLATFORMS=cpu",
            DeviceWarning,
            stacklevel=3,
        )


def refuse_uneven_batches(batch_size: int, mesh: Mesh) -> None:
    """Raises a UserError for a batch that cannot be shared out evenly over the mesh."""
    if batch_size % mesh.size:
        raise UserError(
            f"config.train.batch_size is {batch_size}, which {mesh.size} devices cannot share evenly: make it a "
            f"multiple of {mesh.size}"
        )


def on_every_device(tree: Any, mesh: Mesh) -> Any:
    """Returns the arrays of a tree, copied to every device of the mesh; each process must have the same."""
    everywhere = NamedSharding(mesh, PartitionSpec())

    def put(leaf: Any) -> jax.Array:
        array = np.asarray(leaf)
        # `device_put` would send the array to the other processes, to compare it with theirs.
        return jax.make_array_from_callback(array.shape, everywhere, array.__getitem__)

    return jax.tree.map(put, tree)


def abstract_on_every_device(shapes: Any, mesh: Mesh) -> Any:
    """Returns a tree of shapes and types, each of an array that is on every device of the mesh."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), shapes)


def share_out(shape: tuple[int, ...], mesh: Mesh, read: Callable[[Any], np.ndarray], *, axis: int = 0) -> jax.Array:
    """Returns an array of which each device of the mesh has its share along an axis.

    Args:
      shape: of the whole.
      mesh: its size divides the axis.
      read: returns the part at an index, a tuple of slices; it is asked only for the shares of this process' devices.
      axis: the one that is shared out.
    """
    return jax.make_array_from_callback(shape, NamedSharding(mesh, PartitionSpec(*[None] * axis, "data")), read)


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
    batch_size: int,
    num_steps: int,
    mesh: Mesh,
) -> tuple[Any, Any]:
    """Calls `take_step(state, examples [B] int32)` many times; for use inside a jit.

    Args:
      take_step: returns the state after a step, and the step's metrics.
      state: has a `step`, an int32 scalar, from which the place in the epoch follows.
      seed: of the order; it may be traced.
      num_examples: that an epoch goes through, in the fewest batches that hold them all.
      batch_size: B.
      num_steps: how many steps.
      mesh: its "data" axis shares out each batch.

    Returns:
      The state and each metric, which has a leading axis of `num_steps`, on every device.
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

    (state, _), metrics = jax.lax.scan(one_step, (state, order_of(state.step)), None, length=num_steps)
    return jax.lax.with_sharding_constraint((state, metrics), NamedSharding(mesh, PartitionSpec()))
