"""Who stays, who goes, who comes and who comes back, from one version to the next."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.append.batch import as_kind
from sid_jax.append.items import places
from sid_jax.data.id_lists import read_lines
from sid_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Membership:
    """The rows of two versions' items, of the retired ones and of a batch.

    Attributes:
      kept: `[N]` bool, published items that stay; the others leave.
      returns: `[n]` int64, of each item of the batch the row among the retired ones, or -1.
      known: `[n]` int64, of each item of the batch the row among the published ones, or -1.
    """

    kept: np.ndarray
    returns: np.ndarray
    known: np.ndarray

    @property
    def added(self) -> np.ndarray:
        """`[n]` bool, the items of the batch that nobody has heard of."""
        return (self.returns < 0) & (self.known < 0)


def membership(
    published: pa.ChunkedArray, retired: pa.ChunkedArray, batch: pa.ChunkedArray, removed: pa.ChunkedArray, where: str
) -> Membership:
    """Compares ids, all of one type, none twice in one of them.

    Args:
      published, retired, batch: ids of these items.
      removed: ids of those who are to leave; of those who have left already too.
      where: what an error calls the list of these.

    Raises:
      UserError: if one who is to leave is in the batch, or was never there; or if nobody would be left.
    """
    leaving, gone = places(removed, published), places(removed, retired)
    _refuse(removed, (leaving < 0) & (gone < 0), where, "is not in the export: leave it out")
    _refuse(removed, places(removed, batch) >= 0, where, "is in --input too: take it out of one of them")
    kept = np.ones(len(published), bool)
    kept[leaving[leaving >= 0]] = False
    if not kept.any() and not len(batch):
        raise UserError(f"{where}: names every item, so that none would be left")
    return Membership(kept, places(batch, retired), places(batch, published))


def read_removed(path: Path | None, kind: pa.DataType) -> pa.ChunkedArray:
    """Returns the ids in a text file, one a line, as the type that an ID table has; each once.

    Raises:
      UserError: if the file cannot be read, is empty, or has text where ids are whole numbers.
    """
    if path is None:
        return pa.chunked_array([], kind)
    lines = pa.chunked_array([pa.array([line.rstrip("\r") for line in read_lines(path)], pa.string())])
    return pa.chunked_array([pc.unique(as_kind(lines, kind, str(path)))], kind)


def _refuse(ids: pa.ChunkedArray, wrong: np.ndarray, where: str, words: str) -> None:
    if wrong.any():
        first = ids[int(np.flatnonzero(wrong)[0])].as_py()
        raise UserError(f"{where}: item {first!r} (and {int(wrong.sum()) - 1} more) {words}")
