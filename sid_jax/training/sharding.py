"""The devices: one mesh with one named axis, batches shared out over it, all else on every device.

The devices may be those of several processes, each of which puts on its own ones what belongs there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sid_jax.errors import UserError


def all_devices() -> Mesh:
    """Returns a mesh of all devices along "data"."""
    # The axis type is named: under the default, Explicit, look-ups in a codebook raise a sharding error.
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def refuse_uneven_batches(batch_size: int, mesh: Mesh) -> None:
    """Refuses a batch that cannot be shared out evenly over the mesh.

    Raises:
      UserError: with the numbers that could.
    """
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
