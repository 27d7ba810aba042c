"""The description of a bulk export, and the files that its stages write for later stages.

A *part* is a range of rows of an input file. A *group* has all items whose first code is in a range of codes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from sid_jax.data.arrow_columns import ids_as_array
from sid_jax.data.parts.vector_parts import VectorParts
from sid_jax.export.weights import read_model
from sid_jax.models.rqvae import RQVAE
from sid_jax.whole_file import whole_file

# Kinds of files that stages write for later stages, and their file name extensions.
FILES = {
    # Per part: ids and codes, sorted by first code, with their row numbers.
    "encoded": ".arrow",
    # Per part: the latent vectors, in the order of the rows, as raw float32. Written if IDs are relocated.
    "latents": ".f32",
    # Per part: a hash of each id, sorted.
    "id_hashes": ".npy",
    # Per group: the crowded rows. Their code tuples have more items than the maximum number of items per ID.
    "crowded": ".arrow",
    # Per group: the crowded rows whose relocation compares exact costs, see `sid_jax.ids.relocate.needs_exact_costs`.
    "exact": ".arrow",
    # Per part: the rows of `exact`, sorted; and their vectors in the same order, as raw float32.
    "exact_rows": ".npy",
    "exact_vectors": ".f32",
    # Per group: the rows that got a new code tuple or a suffix, with their new codes, sorted by part. A group that gets
    # leaving rows (see "leaving" below) has a second such file for these rows.
    "placed": ".arrow",
    # Per group: the leaving rows. They get another first code, since no ID under their own first code is free.
    "leaving": ".arrow",
}


@dataclasses.dataclass(frozen=True)
class Job:
    """The description of an export, which is passed to all stages. It has no arrays, so it is cheap to send to workers.

    Each stage is split into pieces, such as one part or one group. A piece reads files and writes files. The same piece
    always writes the same content, so pieces may run on any machine, in any order, and more than once.

    Attributes:
      folder: the export in progress; `codebooks.safetensors` is in it from the start.
      inputs: the parts (ranges of rows) of the input files.
      sizes: K of each level.
      scheme: how IDs are made unique, one of `sid_jax.ids.unique.SCHEMES`.
      capacity: maximum number of items per ID.
      id_name: name of the column of ids.
      sample_every: one in this many items is decoded, to measure R^2.
      columns: names and types of the further columns of the ID table.
    """

    folder: Path
    inputs: VectorParts
    sizes: tuple[int, ...]
    scheme: str
    capacity: int
    id_name: str
    sample_every: int
    columns: pa.Schema = pa.schema([])  # noqa: RUF009 (a schema is immutable)

    @property
    def model(self) -> RQVAE:
        """The exported model; each process loads it once."""
        return _load_model(self.folder)

    @property
    def scratch(self) -> Path:
        """Folder of the files that stages write for later stages; it is removed before the export is finished."""
        return self.folder / "scratch"

    def file(self, kind: str, number: int) -> Path:
        """Returns the path of the file of this kind (a key of `FILES`) for the part or group with this number."""
        return self.scratch / kind / f"{number:06}{FILES[kind]}"


@functools.lru_cache(1)
def _load_model(folder: Path) -> RQVAE:
    return read_model(folder)


class ArrowIds:
    """Ids `[n]`, indexed like a NumPy array, without one Python object per id."""

    def __init__(self, arrow: pa.ChunkedArray):
        self.arrow = arrow

    def __len__(self) -> int:
        return len(self.arrow)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        return ids_as_array(self.arrow.take(pa.array(rows)))


@dataclasses.dataclass(frozen=True)
class Items:
    """A table of n items, with one array per column.

    Attributes:
      part, row: `[n]` int32, the part of each item and its row in the part.
      ids: `[n]`, the items' ids.
      codes: `[n, L]`, in the smallest dtype that holds them.
      vector_hash: `[n]` uint64, equal for equal vectors.
    """

    part: np.ndarray
    row: np.ndarray
    ids: ArrowIds
    codes: np.ndarray
    vector_hash: np.ndarray

    def rows(self, chosen: np.ndarray) -> Items:
        """Returns the items at the positions `chosen`."""
        ids = ArrowIds(self.ids.arrow.take(pa.array(chosen)))
        return Items(self.part[chosen], self.row[chosen], ids, self.codes[chosen], self.vector_hash[chosen])

    def columns(self) -> dict[str, np.ndarray | pa.ChunkedArray]:
        """Returns the items as the columns of a table."""
        columns = {"part": self.part, "row": self.row, "id": self.ids.arrow, "vector_hash": self.vector_hash}
        return {**columns, **code_columns(self.codes)}


def items_of(table: pa.Table) -> Items:
    """Returns the items of a table with the columns of `Items.columns`."""
    arrays = {name: table[name].to_numpy() for name in ("part", "row", "vector_hash")}
    return Items(arrays["part"], arrays["row"], ArrowIds(table["id"]), codes_of(table), arrays["vector_hash"])


def joined(several: Sequence[Items]) -> Items:
    """Returns the concatenation of items."""
    ids = pa.chunked_array([chunk for each in several for chunk in each.ids.arrow.chunks], several[0].ids.arrow.type)
    part, row, codes, vector_hash = (
        np.concatenate([getattr(each, name) for each in several]) for name in ("part", "row", "codes", "vector_hash")
    )
    return Items(part, row, ArrowIds(ids), codes, vector_hash)


def code_columns(codes: np.ndarray) -> dict[str, np.ndarray | pa.ChunkedArray]:
    """Returns codes `[n, L]` as one column per level."""
    return {f"code_{level}": np.ascontiguousarray(codes[:, level]) for level in range(codes.shape[1])}


def codes_of(table: pa.Table) -> np.ndarray:
    """Returns the codes `[n, L]` of a table with the columns of `code_columns`."""
    names = [name for name in table.column_names if name.startswith("code_")]
    return np.stack([table[name].to_numpy() for name in names], axis=1)


def write_columns(path: Path, columns: Mapping[str, np.ndarray | pa.Array]) -> None:
    """Writes columns of equal length as an Arrow table, atomically."""
    table = pa.table(dict(columns))
    with scratch_file(path) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def read_columns(path: Path) -> pa.Table:
    """Returns the columns of a table, memory-mapped."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes one array as .npy."""
    with scratch_file(path) as file:
        np.save(file, array)


def scratch_file(path: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    """Opens a file for an atomic write, since two workers may run the same piece if one of them was taken for dead."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return whole_file(path)


def of_part(table: pa.Table, part: int) -> pa.Table:
    """Returns the rows of one part, from a table sorted by `part`."""
    first, end = np.searchsorted(table["part"].to_numpy(), [part, part + 1])
    return table.slice(first, end - first)
