"""The devices: one mesh with one named axis, batches shared out over it, all else on every device."""

from __future__ import annotations

from typing import Any

import jax
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
    """Returns the arrays of a tree, copied to every device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))
