"""One export of files of any length: what is to be done, and what one stage leaves on the disk for the next."""

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

# Kinds of files that stages leave for later ones, and their endings.
FILES = {
    # Of a part: ids and codes, sorted by first code, with the rows they stand in.
    "encoded": ".arrow",
    # Of a part: a hash of each id, sorted.
    "id_hashes": ".npy",
    # Of a group: the rows whose code tuple has more items than it may have.
    "crowded": ".arrow",
    # Of a part: such rows, sorted; and their vectors, in the same order, float32 and nothing else.
    "crowded_rows": ".npy",
    "crowded_vectors": ".f32",
    # Of a group: what rows have instead of their codes, sorted by part.
    "placed": ".arrow",
    # Of a group: the rows whose first code has no place left.
    "leaving": ".arrow",
}


@dataclasses.dataclass(frozen=True)
class Job:
    """What all stages know. It holds no arrays, so that it travels to other processes.

    A stage does one piece of the work, from files to files, and the same piece always writes the same. So it does not
    matter who does which, in what order, or whether one is done twice.

    Attributes:
      folder: the export that is being made; `codebooks.safetensors` is in it from the start.
      inputs: the parts of the vectors.
      sizes: K of each level.
      scheme: how IDs become unique, one of `sid_jax.ids.unique.SCHEMES`.
      capacity: how many items may share an ID.
      id_name: what the column of ids is called.
      sample_every: of so many items one is decoded, to see how well codes serve.
      columns: names and types of the further columns that the ID table has.
    """

    folder: Path
    inputs: VectorParts
    sizes: tuple[int, ...]
    scheme: str
    capacity: int
    id_name: str
    sample_every: int
    columns: pa.Schema = pa.schema([])  # noqa: RUF009 (it cannot be changed)

    @property
    def model(self) -> RQVAE:
        """The model, as it is exported; a process loads it once."""
        return _load_model(self.folder)

    @property
    def scratch(self) -> Path:
        """Where stages leave what later ones read; gone from the finished export."""
        return self.folder / "scratch"

    def file(self, kind: str, number: int) -> Path:
        """Returns a file of a kind of FILES, of the part or the group of first codes with this number."""
        return self.scratch / kind / f"{number:06}{FILES[kind]}"


@functools.lru_cache(1)
def _load_model(folder: Path) -> RQVAE:
    return read_model(folder)


class ArrowIds:
    """Ids `[n]`, of which rows are asked for as of a NumPy array, without a Python object for each of the others."""

    def __init__(self, arrow: pa.ChunkedArray):
        self.arrow = arrow

    def __len__(self) -> int:
        return len(self.arrow)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        return ids_as_array(self.arrow.take(pa.array(rows)))


@dataclasses.dataclass(frozen=True)
class Items:
    """n items.

    Attributes:
      part, row: `[n]` int32, where they stand.
      ids: of them.
      codes: `[n, L]`, of the smallest type.
      vector_hash: `[n]` uint64, the same for the same vector.
    """

    part: np.ndarray
    row: np.ndarray
    ids: ArrowIds
    codes: np.ndarray
    vector_hash: np.ndarray

    def rows(self, chosen: np.ndarray) -> Items:
        """Returns some of them."""
        ids = ArrowIds(self.ids.arrow.take(pa.array(chosen)))
        return Items(self.part[chosen], self.row[chosen], ids, self.codes[chosen], self.vector_hash[chosen])

    def columns(self) -> dict[str, np.ndarray | pa.ChunkedArray]:
        """Returns them as columns of a table."""
        columns = {"part": self.part, "row": self.row, "id": self.ids.arrow, "vector_hash": self.vector_hash}
        return {**columns, **code_columns(self.codes)}


def items_of(table: pa.Table) -> Items:
    """Returns the items of a table of such columns."""
    arrays = {name: table[name].to_numpy() for name in ("part", "row", "vector_hash")}
    return Items(arrays["part"], arrays["row"], ArrowIds(table["id"]), codes_of(table), arrays["vector_hash"])


def joined(several: Sequence[Items]) -> Items:
    """Returns the items of all, one after another."""
    ids = pa.chunked_array([chunk for each in several for chunk in each.ids.arrow.chunks], several[0].ids.arrow.type)
    part, row, codes, vector_hash = (
        np.concatenate([getattr(each, name) for each in several]) for name in ("part", "row", "codes", "vector_hash")
    )
    return Items(part, row, ArrowIds(ids), codes, vector_hash)


def code_columns(codes: np.ndarray) -> dict[str, np.ndarray | pa.ChunkedArray]:
    """Returns codes `[n, L]` as a column for each level."""
    return {f"code_{level}": np.ascontiguousarray(codes[:, level]) for level in range(codes.shape[1])}


def codes_of(table: pa.Table) -> np.ndarray:
    """Returns the codes `[n, L]` of `code_columns`."""
    names = [name for name in table.column_names if name.startswith("code_")]
    return np.stack([table[name].to_numpy() for name in names], axis=1)


def write_columns(path: Path, columns: Mapping[str, np.ndarray | pa.Array]) -> None:
    """Writes columns of one length as an Arrow table, whole or not at all."""
    table = pa.table(dict(columns))
    with scratch_file(path) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def read_columns(path: Path) -> pa.Table:
    """Returns the columns, memory-mapped."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes one array as .npy."""
    with scratch_file(path) as file:
        np.save(file, array)


def scratch_file(path: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    """Gives a whole file to write: two workers may be at one piece, where one is taken for dead and is not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return whole_file(path)


def of_part(table: pa.Table, part: int) -> pa.Table:
    """Returns the rows of one part, from a table that is sorted by `part`."""
    first, end = np.searchsorted(table["part"].to_numpy(), [part, part + 1])
    return table.slice(first, end - first)
