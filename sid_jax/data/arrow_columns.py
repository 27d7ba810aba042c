"""Ids and vectors in Arrow's columns, as NumPy's arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.errors import UserError

FLOAT_TYPES = "float16, float32 or float64"


def plain_ids(column: pa.ChunkedArray, where: str, *, first_row: int = 0) -> pa.Array:
    """Returns ids `[n]`, int64 or string, from a column of integers or strings, which may be categories.

    An error calls the column `where` and counts rows from `first_row`.

    Raises:
      UserError: if an id is null or no UTF-8, or the column holds something else.
    """
    check_id_type(column.type, where)
    refuse_nulls(column, where, first_row)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
        refuse_nulls(column, where, first_row)
    if pa.types.is_integer(column.type):
        try:
            return column.cast(pa.int64()).combine_chunks()
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{where}: an id is too large for a 64-bit signed integer; write the ids as strings"
            ) from error
    try:
        # What writes the files need not have looked at the bytes.
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise UserError(f"{where}: an id from row {first_row} on is not UTF-8 text; write the ids anew") from error
    return column.cast(pa.string()).combine_chunks()


def check_id_type(kind: pa.DataType, where: str) -> None:
    """Raises UserError unless a column of this type may hold ids: integers or strings, which may be categories."""
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if not (pa.types.is_integer(plain) or any(is_text(plain) for is_text in texts)):
        raise UserError(f"{where}: expected ids that are strings or integers, found {plain}")


def encoded_ids(column: pa.ChunkedArray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns `[T]` which id is in each row, and the distinct ids, int64 or object (str), as they first occur."""
    check_id_type(column.type, where)
    refuse_nulls(column, where)
    if pa.types.is_dictionary(column.type):  # Which may have categories that no row has.
        column = column.cast(column.type.value_type)
    encoded = column.dictionary_encode().combine_chunks()
    return encoded.indices.to_numpy(), ids_from_arrow(pa.chunked_array([encoded.dictionary]), where)


def is_nested(kind: pa.DataType) -> bool:
    """Returns whether a type is of lists, tensors, records or maps."""
    return pa.types.is_nested(kind) or isinstance(kind, pa.FixedShapeTensorType)


def ids_from_arrow(column: pa.ChunkedArray, where: str) -> np.ndarray:
    """Returns ids `[n]`, int64 or object (str); else as `plain_ids`."""
    return ids_as_array(plain_ids(column, where))


def ids_as_array(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Returns ids, int64 or string, as an array `[n]`, int64 or object (str)."""
    return ids.to_numpy() if pa.types.is_integer(ids.type) else np.array(ids.to_pylist(), dtype=object)


def ids_from_numpy(ids: np.ndarray, where: str, *, first_row: int = 0) -> pa.Array:
    """Returns ids `[n]`, int64 or string, from an array of integers or strings; else as `plain_ids`."""
    if ids.dtype.kind == "U":
        try:
            column = pa.array(ids.tolist(), pa.string())
        except ValueError as error:
            raise UserError(f"{where}: an id from row {first_row} on is no text; write the ids anew") from error
    elif ids.dtype.kind in "iu":
        column = pa.array(ids.astype(ids.dtype.newbyteorder("=")))
    else:
        raise UserError(f"{where}: expected ids that are strings or integers, found {ids.dtype}")
    return plain_ids(pa.chunked_array([column]), where, first_row=first_row)


def vectors_from_arrow(
    column: pa.ChunkedArray, where: str, *, first_row: int = 0, integers: bool = False
) -> np.ndarray:
    """Returns vectors `[n, D]` float32 from a column of lists, or tensors `[D]`, of floats of one length.

    Args:
      column: the vectors.
      where, first_row: as of `plain_ids`.
      integers: whether lists of integers are vectors too.

    Raises:
      UserError: if the column holds something else, or a vector or a value in it is null.
    """
    if isinstance(column.type, pa.FixedShapeTensorType) and len(column.type.shape) == 1:
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    is_number = is_list and (
        pa.types.is_floating(kind.value_type) or (integers and pa.types.is_integer(kind.value_type))
    )
    if not is_number:
        raise UserError(f"{where}: expected lists of {FLOAT_TYPES}, found {kind}")
    refuse_nulls(column, where, first_row)
    features, blocks = _common_length(column, where, first_row), []
    for chunk in column.chunks:
        blocks.append(as_float32(_block(chunk, features, where, first_row)))
        first_row += len(chunk)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def refuse_nulls(column: pa.ChunkedArray, where: str, first_row: int = 0) -> None:
    """Raises UserError, naming the first row that is null and how many there are."""
    if column.null_count:
        row = first_row + pc.index(column.is_null(), True).as_py()
        raise UserError(
            f"{where}: row {row} (counted from 0) is null, and {column.null_count} in all; leave out these rows"
        )


def _common_length(column: pa.ChunkedArray, where: str, first_row: int) -> int:
    lengths = pc.list_value_length(column).to_numpy()
    ragged = np.flatnonzero(lengths != lengths[0])
    if len(ragged):
        raise UserError(
            f"{where}: row {first_row + ragged[0]} (counted from 0) has {lengths[ragged[0]]} values, but row "
            f"{first_row} has {lengths[0]}; give all vectors one length"
        )
    if not lengths[0]:
        raise UserError(f"{where}: the vectors are empty")
    return int(lengths[0])


def _block(chunk: pa.Array, features: int, where: str, first_row: int) -> np.ndarray:
    """Returns the chunk as `[n, D]`, without a copy."""
    values = chunk.flatten()
    if values.null_count:
        row = first_row + pc.index(values.is_null(), True).as_py() // features
        raise UserError(
            f"{where}: {values.null_count} values inside the vectors are null, the first in row {row} (counted from "
            "0); fill them in or leave out the rows"
        )
    return values.to_numpy().reshape(-1, features)


def as_float32(array: np.ndarray) -> np.ndarray:
    """Returns the array as contiguous float32, itself if it is that already."""
    with np.errstate(over="ignore"):  # A float64 too large for float32 becomes infinite, which is refused by its row.
        return np.ascontiguousarray(array, dtype=np.float32)
