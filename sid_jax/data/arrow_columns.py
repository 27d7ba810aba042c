"""Converts ids and vectors in Arrow columns to NumPy arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.errors import UserError

# Types of the numbers in vectors, for error messages.
NUMBER_TYPES = "integers, float16, float32 or float64"


# The functions in `_TEXTS` recognize text types; those in `_BYTES` recognize binary types, which may hold text.
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_WRITE_IDS = "write whole numbers or text"
_PLAIN = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)


def plain_ids(column: pa.ChunkedArray, where: str, *, first_row: int = 0) -> pa.Array:
    """Returns ids `[n]`, int64 or string, from a column of any integer or text type.

    Text may be stored as bytes, and integers as decimals. UUIDs become text. Values of all these types may be
    dictionary-encoded. In errors, the column is called `where` and rows are counted from `first_row`.

    Raises:
      UserError: if an id is null or not UTF-8, or the column has another type.
    """
    column = integers_or_text(column, where, first_row)
    if pa.types.is_integer(column.type):
        try:
            return column.cast(pa.int64()).combine_chunks()
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{where}: an id is too large for a 64-bit signed integer; write the ids as strings"
            ) from error
    try:
        # A column of text may hold bytes that are not UTF-8.
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{where}: an id in row {first_row} or later is not UTF-8 text; save the ids as UTF-8"
        ) from error
    return column.cast(pa.string()).combine_chunks()


def integers_or_text(column: pa.ChunkedArray, where: str, first_row: int = 0) -> pa.ChunkedArray:
    """Returns ids as Arrow integers or text. The types that ids may have are defined only here.

    Raises:
      UserError: if an id is null, or the column has another type.
    """
    # The column is converted before the check for nulls, since the dictionary of an encoded column may contain null.
    column = plain(column)
    refuse_nulls(column, where, first_row)
    kind = column.type
    if isinstance(kind, pa.UuidType):
        return pa.chunked_array([pa.array([str(each.as_py()) for each in column], pa.string())])
    try:
        if any(is_bytes(kind) for is_bytes in _BYTES):
            return column.cast(pa.binary()).cast(pa.string())
        if pa.types.is_decimal(kind):
            return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        wanted = "whole numbers of at most 64 bits" if pa.types.is_decimal(kind) else "UTF-8 text"
        raise UserError(
            f"{where}: ids of the type {kind} are not all {wanted}; save the ids as whole numbers or text"
        ) from error
    if not (pa.types.is_integer(kind) or any(is_text(kind) for is_text in _TEXTS)):
        raise UserError(f"{where}: expected ids that are strings or integers, found {kind}; {_WRITE_IDS}")
    return column


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Converts dictionary-encoded, run-end-encoded and view columns of Arrow to the plain layout of their values."""
    kind = column.type
    if pa.types.is_run_end_encoded(kind):
        return plain(pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], kind.value_type))
    if pa.types.is_dictionary(kind):
        # Arrow's `take` does not support the view types that polars writes.
        value = _PLAIN.get(kind.value_type, kind.value_type)
        return pa.chunked_array([chunk.dictionary.cast(value).take(chunk.indices) for chunk in column.chunks], value)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return pa.chunked_array(map(_list_of_view, column.chunks), pa.large_list(kind.value_type))
    return column.cast(_PLAIN[kind]) if kind in _PLAIN else column


def _list_of_view(view: pa.Array) -> pa.LargeListArray:
    # `cast` is not used, since Arrow 26 casts the last view of an array to an empty list.
    lengths = pc.fill_null(pc.list_value_length(view), 0).to_numpy()
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, view.flatten(), mask=view.is_null() if view.null_count else None)


def encoded_ids(column: pa.ChunkedArray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the index `[T]` of each row's id among the distinct ids, and the distinct ids, int64 or object (str).

    The distinct ids are in the order of their first occurrence.
    """
    encoded = integers_or_text(column, where).dictionary_encode().combine_chunks()
    return encoded.indices.to_numpy(), ids_from_arrow(pa.chunked_array([encoded.dictionary]), where)


def is_nested(kind: pa.DataType) -> bool:
    """Returns whether a type consists of lists, tensors, structs or maps."""
    return pa.types.is_nested(kind) or isinstance(kind, pa.FixedShapeTensorType)


def ids_from_arrow(column: pa.ChunkedArray, where: str) -> np.ndarray:
    """Returns ids `[n]`, int64 or object (str); see `plain_ids` for the errors."""
    return ids_as_array(plain_ids(column, where))


def ids_as_array(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Returns Arrow ids, int64 or string, as an array `[n]`, int64 or object (str)."""
    return ids.to_numpy() if pa.types.is_integer(ids.type) else np.array(ids.to_pylist(), dtype=object)


def ids_from_numpy(ids: np.ndarray, where: str, *, first_row: int = 0) -> pa.Array:
    """Returns ids `[n]`, int64 or string, from a NumPy array of integers or strings; see `plain_ids` for the errors."""
    if ids.dtype.kind == "U":
        try:
            column = pa.array(ids.tolist(), pa.string())
        except ValueError as error:
            raise UserError(f"{where}: an id in row {first_row} or later is not text; save all ids as text") from error
    elif ids.dtype.kind in "iu":
        column = pa.array(ids.astype(ids.dtype.newbyteorder("=")))
    elif ids.dtype.kind == "S":  # h5py returns text in this form.
        column = pa.array(ids.tolist(), pa.binary())
    else:
        raise UserError(f"{where}: expected ids that are strings or integers, found {ids.dtype}; {_WRITE_IDS}")
    return plain_ids(pa.chunked_array([column]), where, first_row=first_row)


def vectors_from_arrow(
    column: pa.ChunkedArray, where: str, *, first_row: int = 0, num_features: int | None = None
) -> np.ndarray:
    """Returns vectors `[n, D]` float32 from a column of lists or tensors `[D]` of integers, floats or decimals.

    Args:
      column: the vectors.
      where, first_row: see `plain_ids`.
      num_features: the number D of features that each vector must have; None for the length of the first vector. If
        `num_features` is given, invalid vectors become vectors that are not finite: a null row or a null value becomes
        NaN, and a vector of another length becomes infinite values.

    Raises:
      UserError: if the column has another type; without `num_features`, also if a vector or a value in it is null, or a
        vector has another length.
    """
    column = _lists_of_numbers(column, where)
    if num_features is None:
        refuse_nulls(column, where, first_row)
        num_features = _common_length(column, where, first_row)
        refuse_null_values(column, where, first_row, num_features)
    blocks = [as_float32(_block(chunk, num_features)) for chunk in column.chunks]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def usual_length(column: pa.ChunkedArray, where: str) -> int:
    """Returns the most frequent length of a column's vectors; 0 if all are empty or null.

    Of several lengths that are equally frequent, it returns the one that occurs first.

    Raises:
      UserError: if the column has another type.
    """
    lengths = pc.drop_null(pc.list_value_length(_lists_of_numbers(column, where))).to_numpy()
    lengths = lengths[lengths > 0]
    return int(lengths[np.bincount(lengths)[lengths].argmax()]) if len(lengths) else 0


def _lists_of_numbers(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Returns a column of lists of floats or integers; raises UserError for another type."""
    if isinstance(column.type, pa.FixedShapeTensorType) and len(column.type.shape) == 1:
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    column = plain(column)
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list and pa.types.is_decimal(kind.value_type):
        return column.cast(pa.large_list(pa.float64()))
    if pa.types.is_struct(kind):
        fields = ", ".join(field.name for field in kind)
        raise UserError(
            f"{where}: expected lists of {NUMBER_TYPES}, found records with {fields}; save the field that has the "
            "numbers as a column of lists (in Spark: vector_to_array)"
        )
    if not (is_list and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))):
        raise UserError(
            f"{where}: expected lists of {NUMBER_TYPES}, found {kind}; save the vectors as lists of float32"
        )
    return column


def refuse_nulls(column: pa.ChunkedArray, where: str, first_row: int = 0) -> None:
    """Raises UserError with the first null row and the number of null rows, if there are any."""
    if column.null_count:
        row = first_row + pc.index(column.is_null(), True).as_py()
        raise UserError(
            f"{where}: row {row} (counted from 0) is null (null rows: {column.null_count}); remove these rows"
        )


def _common_length(column: pa.ChunkedArray, where: str, first_row: int) -> int:
    lengths = pc.list_value_length(column).to_numpy()
    ragged = np.flatnonzero(lengths != lengths[0])
    if len(ragged):
        raise UserError(
            f"{where}: row {first_row + ragged[0]} (counted from 0) has {lengths[ragged[0]]} values, but row "
            f"{first_row} has {lengths[0]}; give vectors of one length"
        )
    if not lengths[0]:
        raise UserError(f"{where}: the vectors have no values; give vectors of at least one value")
    return int(lengths[0])


def refuse_null_values(column: pa.ChunkedArray, where: str, first_row: int, features: int) -> None:
    """Raises UserError if a value in vectors `[n, D]` is null."""
    values = pa.chunked_array([chunk.flatten() for chunk in column.chunks])
    if values.null_count:
        row = first_row + pc.index(values.is_null(), True).as_py() // features
        raise UserError(
            f"{where}: {values.null_count} values inside the vectors are null, first in row {row} (counted from "
            "0); replace the null values or remove the rows"
        )


def _block(chunk: pa.Array, features: int) -> np.ndarray:
    """Returns the chunk as `[n, D]`, without a copy if all rows are vectors of length D.

    A null row becomes NaN, and a vector of another length becomes infinite values.
    """
    lengths = pc.fill_null(pc.list_value_length(chunk), -1)
    good = pc.and_(chunk.is_valid(), pc.equal(lengths, features))
    if good.true_count == len(chunk):
        return chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, features)
    block = np.full((len(chunk), features), np.nan)
    is_other = pc.and_(chunk.is_valid(), pc.invert(good)).to_numpy(zero_copy_only=False)
    block[is_other] = np.inf
    block[good.to_numpy(zero_copy_only=False)] = (
        chunk.filter(good).flatten().to_numpy(zero_copy_only=False).reshape(-1, features)
    )
    return block


def as_float32(array: np.ndarray) -> np.ndarray:
    """Returns the array as contiguous float32, without a copy if it already is."""
    with np.errstate(over="ignore"):  # A float64 beyond float32's range becomes infinite; later checks reject its row.
        return np.ascontiguousarray(array, dtype=np.float32)
