"""The items of an append: ids, vectors and codes, sorted by id, from files or from memory."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.data.arrays import UNORDERED, as_ids, as_vectors
from sid_jax.data.bad_rows import finite_rows
from sid_jax.data.blocks import not_finite, take_rows
from sid_jax.data.id_lists import check_unique
from sid_jax.data.part_columns import columns_of_part, under_schema
from sid_jax.data.parts.vector_parts import VectorParts
from sid_jax.data.vector_files import refuse_bad_rows
from sid_jax.data.vector_set import LeftOut
from sid_jax.errors import UserError
from sid_jax.export.encoder import ITEMS_A_CALL, Encoder
from sid_jax.ids.convert import arrow_ids, code_type, columns_table
from sid_jax.models.rqvae import RQVAE

_ROWS_A_BLOCK = 16_384
# Matches integers of at most 18 digits without leading zeros: "7", but not "007". These integers fit int64, and their
# conversion to int64 and back to text gives the same text.
_WHOLE_NUMBER = "^(0|-?[1-9][0-9]{0,17})$"


class PickedRows:
    """Chosen rows of `vectors`, as an array `[n, D]`. The vectors may be in a file; rows are read on request.

    Args:
      vectors: `[m, D]` float32.
      order: `[n]`, the row of `vectors` for each row of the array.
    """

    def __init__(self, vectors: np.ndarray, order: np.ndarray):
        self._vectors, self._order = vectors, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Returns the vectors of rows `[k]`: `[k, D]` float32."""
        return take_rows(self._vectors, self._order[rows])


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """n items of an append, sorted by id: integers by value, strings by code point.

    Attributes:
      ids: `[n]` int64 or string, all distinct.
      codes: `[n, L]`.
      source: `[m, D]` float32, the vectors of all m input rows.
      order: `[n]`, the input row of each item.
      source_columns: a function that returns the columns of a schema for the m input rows.
      where: name of the source in error messages.
    """

    ids: pa.ChunkedArray
    codes: np.ndarray
    source: np.ndarray
    order: np.ndarray
    source_columns: Callable[[pa.Schema], pa.Table]
    where: str

    def __len__(self) -> int:
        """Returns n."""
        return len(self.order)

    @property
    def vectors(self) -> PickedRows:
        """Vectors `[n, D]`, read on request."""
        return PickedRows(self.source, self.order)

    def rows(self, chosen: np.ndarray) -> Batch:
        """Returns the batch of the items at positions `chosen`, `[k]`."""
        ids = self.ids.take(pa.array(chosen))
        return dataclasses.replace(self, ids=ids, codes=self.codes[chosen], order=self.order[chosen])

    def columns(self, schema: pa.Schema) -> pa.Table:
        """Returns columns with the schema's names and types. A column that the source lacks is null.

        Raises:
          UserError: if a column has values that do not fit the type.
        """
        return self.source_columns(schema).take(pa.array(self.order)) if schema.names else pa.table({})


def batch_of_files(parts: VectorParts | None, model: RQVAE, there: pa.ChunkedArray, scratch: Path) -> Batch:
    """Reads and encodes the items of the input files. Their vectors are kept in a file in `scratch`, not in memory.

    `parts` are the input files, as ranges of rows; None if there are no items. `there` `[N]`, int64 or string, are the
    item ids of the previous version.

    Raises:
      UserError: if a file cannot be read, an id occurs twice or does not fit the type of `there`, or a vector is not
        finite.
    """
    path = scratch / "vectors.f32"
    numbers = range(0 if parts is None else len(parts.parts))

    def blocks() -> Iterator[tuple[pa.ChunkedArray, np.ndarray]]:
        with path.open("wb") as file:
            for number in numbers:
                assert parts is not None
                for block_ids, vectors in parts.blocks(number, _ROWS_A_BLOCK):
                    if len(not_finite(vectors, model.layout)):
                        refuse_bad_rows(parts, "--on_bad_rows=drop")
                    file.write(np.ascontiguousarray(vectors).data)
                    yield as_kind(pa.chunked_array([block_ids]), there, parts.parts[number].path), vectors

    def columns(schema: pa.Schema) -> pa.Table:
        tables = [columns_of_part(parts, number, schema) for number in numbers if parts is not None]
        return pa.concat_tables([schema.empty_table(), *tables])

    ids, codes = _encoded(blocks(), model, there.type)
    flat = np.memmap(path, np.float32, "r") if path.stat().st_size else np.empty(0, np.float32)
    return _in_order(ids, codes, flat.reshape(-1, model.mean.shape[0]), columns, "--input")


def batch_of_arrays(
    item_ids: Any, vectors: Any, columns: Any, model: RQVAE, there: pa.ChunkedArray, on_bad_rows: str = "error"
) -> tuple[Batch, LeftOut]:
    """Encodes items in memory: ids `[n]`, vectors `[n, D]` and further columns, `[n]` each; see `append_items`.

    Returns:
      The batch, and a description of the items that are dropped since their vectors are not finite.

    Raises:
      UserError: if shapes do not match, an id occurs twice or does not have the type of the published ids `there`, or a
        vector is not finite and not dropped.
    """
    if isinstance(item_ids, UNORDERED) or not isinstance(item_ids, Iterable):
        raise UserError(f"item_ids: found {type(item_ids).__name__}; give a list, an array or a column of ids")
    ids = ids_of_kind(item_ids, there, "item_ids")
    num_features = model.mean.shape[0]
    if isinstance(vectors, (str, os.PathLike)):
        raise UserError(f"vectors is {vectors!r}; give an array [{len(ids)}, {num_features}], not a path")
    if not len(ids) and len(vectors):
        raise UserError("vectors are given without item_ids; give the id of each new item, append(item_ids, vectors)")
    source = as_vectors(vectors, "vectors") if len(vectors) else np.empty((0, num_features), np.float32)
    if source.shape != (len(ids), num_features):
        raise UserError(
            f"vectors have shape {list(source.shape)}, but {len(ids)} new items of this export need [{len(ids)}, "
            f"{num_features}]"
        )
    source = source.astype(np.float32, copy=False)
    names, option = ids.to_numpy(), 'on_bad_rows="drop"'
    kept, left_out = finite_rows(source, names, on_bad_rows, model.layout, allow_empty=True, option=option)
    given = columns if columns is None or isinstance(columns, (pa.Table, dict)) else pa.Table.from_pandas(columns)
    table = columns_table(given, len(ids), ())
    if left_out.num_rows:
        ids, source = ids.filter(pa.array(kept)), source[kept]
        table = table.filter(pa.array(kept)) if table.column_names else table
    starts = range(0, len(ids), _ROWS_A_BLOCK)
    blocks = ((ids.slice(each, _ROWS_A_BLOCK), source[each : each + _ROWS_A_BLOCK]) for each in starts)
    found, codes = _encoded(blocks, model, there.type)
    count = len(ids)
    batch = _in_order(found, codes, source, lambda schema: under_schema(schema, table, count, "columns"), "item_ids")
    return batch, left_out


def _encoded(
    blocks: Iterable[tuple[pa.ChunkedArray, np.ndarray]], model: RQVAE, kind: pa.DataType
) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Encodes blocks of ids and vectors, and returns the ids and codes of all blocks."""
    encoder, sizes = Encoder(model), model.quantizer.codebook_sizes
    ids: list[pa.Array] = []
    codes = [np.empty((0, len(sizes)), code_type(sizes))]
    for block_ids, vectors in blocks:
        ids += block_ids.chunks
        # The vectors are padded to a multiple of `ITEMS_A_CALL`, so that all calls have the same shape. One program
        # is then compiled for all of them, and it gives a vector the same codes at any position in the input.
        filled = np.pad(vectors, ((0, -len(vectors) % ITEMS_A_CALL), (0, 0)))
        codes.append(encoder.codes_of(filled)[: len(vectors)].astype(codes[0].dtype))
    return pa.chunked_array(ids, kind), np.concatenate(codes)


def _in_order(
    ids: pa.ChunkedArray,
    codes: np.ndarray,
    source: np.ndarray,
    columns: Callable[[pa.Schema], pa.Table],
    where: str,
) -> Batch:
    if pc.count_distinct(ids).as_py() < len(ids):
        check_unique(np.array(ids.to_pylist(), dtype=object), where)
    # Arrow sorts strings by their UTF-8 bytes, Python by code points. Both orders are the same.
    order = pc.sort_indices(ids).to_numpy().astype(np.int64)
    return Batch(ids.take(pa.array(order)), codes[order], source, order, columns, where)


def ids_of_kind(item_ids: Any, there: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Returns ids in memory as an Arrow column. They must have the type of the published ids `there`, and are not cast.

    Raises:
      UserError: if `item_ids` are not ids, or if only one of `item_ids` and `there` is text.
    """
    item_ids = item_ids if isinstance(item_ids, (str, bytes)) or hasattr(item_ids, "__len__") else list(item_ids)
    ids = as_ids(item_ids, where) if isinstance(item_ids, (str, bytes)) or len(item_ids) else np.empty(0, object)
    found = arrow_ids(ids) if len(ids) else pa.chunked_array([pa.array([], there.type)])
    if found.type != there.type:
        raise UserError(_two_kinds(found, there, where))
    return found


def as_kind(ids: pa.ChunkedArray, there: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Returns ids from files, int64 or string, in the type of the published ids `there`, if the cast is unambiguous.

    Text ids are cast to integers if all of them are written like Python integers. Integers are cast to text only
    if all published ids are written like Python integers, since the text "49" would not match a published id "000049".

    Raises:
      UserError: if the types differ and neither cast applies.
    """
    if ids.type == there.type:
        return ids
    numbers = pa.types.is_integer(there.type)
    strange = pc.index(pc.match_substring_regex(ids if numbers else there, _WHOLE_NUMBER), False).as_py()
    if strange < 0:
        return ids.cast(there.type)
    if numbers:
        raise UserError(
            f"{where}: id {ids[strange].as_py()!r} is not a whole number, but the ids of the published items are "
            f"whole numbers such as {there[0].as_py()}; give ids of the same type"
        )
    raise UserError(_two_kinds(ids, there.slice(strange), f"{where}: ids"))


def _two_kinds(ids: pa.ChunkedArray, there: pa.ChunkedArray, where: str) -> str:
    """Returns an error message that states the types of two arrays of ids, with the first id of each."""
    named = {True: "whole numbers", False: "text"}
    (kind, example), (published, other) = (
        (named[pa.types.is_integer(each.type)], each[0].as_py() if len(each) else None) for each in (ids, there)
    )
    return (
        f"{where} are {kind}, such as {example!r}, but the ids of the published items are {published}, such as "
        f"{other!r}; give ids of the same type and spelling as the published ids"
    )
