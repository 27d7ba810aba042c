"""The items of files that are appended: ids, vectors and codes, in the order of the ids."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sid_jax.data.bad_rows import refuse_bad_rows
from sid_jax.data.blocks import take_rows
from sid_jax.data.checks import check_unique, not_finite
from sid_jax.data.parts.vector_parts import VectorParts
from sid_jax.errors import UserError
from sid_jax.export.encoder import ITEMS_A_CALL, encode_vectors
from sid_jax.ids.convert import code_type
from sid_jax.models.rqvae import RQVAE

_ROWS_A_BLOCK = 16_384
# As Python writes whole numbers within int64, so that nothing is lost: "007" stays text.
_WHOLE_NUMBER = "^(0|-?[1-9][0-9]{0,17})$"


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """n items in the order of their ids, integers by value and strings by code point, whatever that of their rows was.

    Attributes:
      ids: `[n]` int64 or string, no two alike.
      codes: `[n, L]`.
      vectors: `[n, D]`, read from the disk as they are asked for.
      parts: where they come from; None for no items.
      order: `[n]`, the row of `parts` that each was in.
    """

    ids: pa.ChunkedArray
    codes: np.ndarray
    vectors: SpilledVectors
    parts: VectorParts | None
    order: np.ndarray

    def __len__(self) -> int:
        """Returns n."""
        return len(self.order)

    def rows(self, chosen: np.ndarray) -> Batch:
        """Returns the items with these numbers `[m]`."""
        vectors = SpilledVectors(self.vectors.path, self.vectors.num_features, self.order[chosen])
        ids = self.ids.take(pa.array(chosen))
        return Batch(ids, self.codes[chosen], vectors, self.parts, self.order[chosen])

    def columns(self, schema: pa.Schema) -> pa.Table:
        """Returns columns of these names and types: null where the files have none.

        Raises:
          UserError: if a file's column has values that the type does not fit.
        """
        if not schema.names or self.parts is None:
            return pa.table({field.name: pa.nulls(len(self), field.type) for field in schema}, schema=schema)
        read = [_columns_of_part(self.parts, number, schema) for number in range(len(self.parts.parts))]
        return pa.concat_tables(read).take(pa.array(self.order))


class SpilledVectors:
    """Vectors in a file of float32, rows of which are asked for as of an array `[n, D]`.

    Args:
      path: of the file, which holds `[m, D]` float32 and nothing else.
      num_features: D.
      order: `[n]`, which row of the file each is.
    """

    def __init__(self, path: Path, num_features: int, order: np.ndarray):
        self.path, self.num_features, self._order = path, num_features, order
        empty = not path.stat().st_size
        flat = np.empty(0, np.float32) if empty else np.memmap(path, np.float32, "r")
        self._rows = flat.reshape(-1, num_features)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Returns the vectors of rows `[m]`: `[m, D]` float32."""
        return take_rows(self._rows, self._order[rows])


def read_batch(parts: VectorParts | None, model: RQVAE, kind: pa.DataType, scratch: Path) -> Batch:
    """Reads and encodes all parts.

    Args:
      parts: of the files; None for no items.
      model: gives the codes.
      kind: the type of the ids of the table that is appended to, int64 or string, to which theirs are brought.
      scratch: a folder for the vectors.

    Raises:
      UserError: if a file cannot be read, an id is there twice or cannot be of that type, or a vector is not finite.
    """
    ids: list[pa.Array] = []
    codes = [np.empty((0, len(model.quantizer.levels)), code_type(model.quantizer.codebook_sizes))]
    path = scratch / "vectors.f32"
    with path.open("wb") as file:
        for number in range(0 if parts is None else len(parts.parts)):
            assert parts is not None
            for block_ids, vectors in parts.blocks(number, _ROWS_A_BLOCK):
                if len(not_finite(vectors)):
                    refuse_bad_rows(parts)
                ids.append(as_kind(pa.chunked_array([block_ids]), kind, parts.parts[number].path).combine_chunks())
                # Filled up, so that one program does for all, and a row's codes are the same wherever it stands.
                filled = np.pad(vectors, ((0, -len(vectors) % ITEMS_A_CALL), (0, 0)))
                codes.append(encode_vectors(model, filled)[: len(vectors)].astype(codes[0].dtype))
                file.write(np.ascontiguousarray(vectors).data)
    found = pa.chunked_array(ids, kind)
    if pc.count_distinct(found).as_py() < len(found):
        check_unique(np.array(found.to_pylist(), dtype=object), "--input")
    # Arrow compares the bytes of strings, whose order in UTF-8 is that of the code points.
    order = pc.sort_indices(found).to_numpy().astype(np.int64)
    spilled = SpilledVectors(path, model.mean.shape[0], order)
    return Batch(found.take(pa.array(order)), np.concatenate(codes)[order], spilled, parts, order)


def as_kind(ids: pa.ChunkedArray, kind: pa.DataType, where: str) -> pa.ChunkedArray:
    """Returns ids, int64 or string, as the one that an ID table has.

    Raises:
      UserError: if they are text and the table's are whole numbers, and one of them is none.
    """
    if ids.type == kind:
        return ids
    if pa.types.is_integer(kind):
        strange = pc.index(pc.match_substring_regex(ids, _WHOLE_NUMBER), False).as_py()
        if strange >= 0:
            raise UserError(
                f"{where}: id {ids[strange].as_py()!r} is not a whole number, as those of the published items are: "
                "give ids of one kind"
            )
    return ids.cast(kind)


def _columns_of_part(parts: VectorParts, number: int, schema: pa.Schema) -> pa.Table:
    part = parts.parts[number]
    path = Path(part.path)
    there: list[str] = []
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            there = [name for name in schema.names if name in file.schema_arrow.names]
            read = file.read_row_groups(list(range(*part.row_groups)), columns=there) if there else None
    columns = {}
    for field in schema:
        columns[field.name] = pa.nulls(part.num_rows, field.type)
        if field.name in there and read is not None:
            try:
                columns[field.name] = read[field.name].cast(field.type)
            except pa.ArrowException as error:
                reason = " ".join(str(error).split())
                raise UserError(
                    f"{path}: column {field.name!r} cannot be of the published items' type {field.type}: {reason}"
                ) from error
    table = pa.table(columns, schema=schema)
    return table.take(pa.array(parts.kept(number))) if part.left_out else table
