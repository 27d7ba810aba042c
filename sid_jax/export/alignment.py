"""After a retraining: the new model's codes under the numbers that the old ones had, so that few IDs change."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sid_jax.errors import UserError
from sid_jax.export.id_tables import read_id_table
from sid_jax.ids.renumbering import best_orders
from sid_jax.ids.table import IdTable


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """How a model's codes are renumbered.

    Attributes:
      to: the IDs that its own are to be like.
      num_common: items of both, by which it was found.
      orders: as `sid_jax.ids.renumbering.best_orders` gives them.
    """

    to: IdTable
    num_common: int
    orders: list[np.ndarray]

    def record(self) -> dict[str, Any]:
        """Returns what the manifest says of it."""
        orders = [order.tolist() for order in self.orders]
        return {"to": self.to.name, "num_common": self.num_common, "orders": orders}


def find_alignment(to: IdTable, rows: np.ndarray, codes: np.ndarray, sizes: Sequence[int]) -> Alignment:
    """Finds the renumbering by the items that both have.

    Args:
      to: the old IDs.
      rows: `[n]`, where these items stand in them.
      codes: `[n, L]`, of the new model.
      sizes: K of each of its levels.

    Raises:
      UserError: if there are none.
    """
    if not len(rows):
        raise UserError(f"--align_to: no item is in {to.name} too, so that nothing says which codes belong together")
    levels = min(len(sizes), to.semantic_ids.shape[1])
    orders = best_orders(to.semantic_ids[rows, :levels], codes[:, :levels], sizes[:levels])
    return Alignment(to, len(rows), [*orders, *(np.arange(size) for size in sizes[levels:])])


def read_alignment_target(path: Path | None) -> IdTable | None:
    """Returns the IDs to align to, if any are named."""
    return None if path is None else read_id_table(path)
