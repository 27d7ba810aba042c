"""Converts in-memory ids, vectors and tables of any library to NumPy arrays and Arrow tables.

This module does not import pandas, PyTorch or JAX. It recognizes arrays of PyTorch and JAX by their methods, and
objects of pandas by their classes, which exist only if the caller has imported pandas.
"""

from __future__ import annotations

import mmap
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

import ml_dtypes
import numpy as np
import pyarrow as pa

from sid_jax.data.arrow_columns import as_float32, ids_as_array, ids_from_arrow, ids_from_numpy, vectors_from_arrow
from sid_jax.errors import UserError, reason, shown

_VECTORS = "an array [N, D], an Arrow or pandas column of lists, a table of numbers, a list of lists, or a path"
# Types whose values have no defined order, so that the values cannot be matched to rows or times.
UNORDERED = (set, frozenset)
_IDS = "expected ids that are strings or integers, all of one type"


def as_vectors(vectors: Any, where: str) -> np.ndarray:
    """Returns vectors as `[N, D]` float32, contiguous; values that are not finite are kept.

    Args:
      vectors: an array `[N, D]` of NumPy, JAX or PyTorch, of any float or integer dtype; an Arrow or pandas column of
        lists; an Arrow or pandas table of D numeric columns; or a sequence of N sequences or arrays. Contiguous
        float32 arrays are not copied. A memory map of contiguous float32 stays mapped if its mode is "r" or "r+".
      where: name of the vectors in error messages.

    Raises:
      UserError: if the vectors have an unsupported form, a row is null, or rows differ in length.
    """
    vectors = _in_arrow(vectors, where)
    if isinstance(vectors, pa.ChunkedArray):
        if not len(vectors):
            raise UserError(f"{where}: empty; give at least one vector")
        return vectors_from_arrow(vectors, where)
    if isinstance(vectors, pa.Table):
        return _vectors_of_table(vectors, where)
    array = _in_numpy(vectors)
    if array is None or array.dtype == object:
        if isinstance(vectors, (str, bytes, Mapping)) or not isinstance(vectors, Sized):
            raise UserError(f"{where}: found {type(vectors).__name__}; give {_VECTORS}")
        return _stacked(list(vectors) if array is None else array, where)  # type: ignore[call-overload]
    if not _is_number(array.dtype):
        raise UserError(f"{where}: expected numbers, found {array.dtype}; give float32")
    if array.ndim != 2 or not array.size:
        raise UserError(f"{where}: expected an array [N, D] with a row per item, found shape {list(array.shape)}")
    if isinstance(array, np.ma.MaskedArray):
        array = np.ma.filled(array.astype(np.float32), np.nan)
    return as_float32(_safely_mapped(array))


def as_ids(ids: Any, where: str) -> np.ndarray:
    """Returns ids as `[n]` int64 or object (str). UUIDs and bytes become text; other values are unchanged.

    Args:
      ids: strings, integers or UUIDs, all of one type, in an array of NumPy, JAX or PyTorch, an Arrow or pandas column
        (also a categorical one), or a sequence.
      where: name of the ids in error messages.

    Raises:
      UserError: if the ids have an unsupported form, or an id is null.
    """
    ids = _in_arrow(ids, where)
    if isinstance(ids, pa.ChunkedArray):
        return ids_from_arrow(ids, where)
    array = _in_numpy(ids)
    if array is not None and array.ndim != 1:
        raise UserError(f"{where}: expected ids [N], found shape {list(array.shape)}")
    if array is not None and array.dtype.kind not in "OT":
        return ids_as_array(ids_from_numpy(array, where))
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise UserError(
            f"{where}: found {type(ids).__name__}; give a list, an array or a column of strings or integers"
        )
    return _ids_of_list(list(ids), where)


def as_ordered_ids(ids: Any, where: str) -> np.ndarray:
    """Returns the result of `as_ids` for ids that are matched to rows by position; a set is rejected."""
    if isinstance(ids, UNORDERED):
        raise UserError(f"{where}: a set has no order, so its ids cannot be matched to the vectors; give a list")
    return as_ids(ids, where)


def ids_in_index(table: Any, id_column: str) -> Any | None:
    """Returns the index of a pandas DataFrame if it seems to hold ids and there is no column `id_column`; else None.

    An index seems to hold ids if its values are text, or if its name is `id_column`.
    """
    if not _is_pandas(table, "DataFrame") or id_column in table.columns:
        return None
    return table.index if table.index.name == id_column or table.index.inferred_type == "string" else None


def as_table(table: Any, where: str) -> pa.Table:
    """Converts a table of any library to an Arrow table; columns keep their types.

    Args:
      table: a table of Arrow, pandas, or a library whose tables Arrow accepts; or a mapping of columns.
      where: name of the table in error messages.

    Raises:
      UserError: if the table has an unsupported form, its columns differ in length, or a column has values of several
        types.
    """
    if isinstance(table, Mapping):
        columns = {name: _as_column(values, f"{where}: column {name!r}") for name, values in table.items()}
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise UserError(
                f"{where}: the columns differ in length ({shown(lengths)}); give each column one value per item"
            )
        return pa.table(columns)
    if _is_pandas(table, "DataFrame"):
        names = list(map(str, table.columns))
        if len(set(names)) < len(names):
            raise UserError(f"{where}: several columns have the same name ({', '.join(names)}); rename them")
        return as_table({name: table.iloc[:, place] for place, name in enumerate(names)}, where)
    try:
        found = pa.table(table)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise UserError(
            f"{where}: found {type(table).__name__}; give an Arrow table, a pandas DataFrame or a mapping of columns"
        ) from error
    if len(set(found.column_names)) < found.num_columns:
        raise UserError(f"{where}: several columns have the same name ({', '.join(found.column_names)}); rename them")
    return found


def is_table(value: Any) -> bool:
    """Returns whether a value is an Arrow or pandas table."""
    return isinstance(value, (pa.Table, pa.RecordBatch)) or _is_pandas(value, "DataFrame")


def _is_pandas(value: Any, *names: str) -> bool:
    pandas = sys.modules.get("pandas")  # If the value is a pandas object, pandas is already imported.
    return pandas is not None and isinstance(value, tuple(getattr(pandas, name) for name in names))


def _in_arrow(value: Any, where: str) -> Any:
    """Converts Arrow data, and most pandas data, to an Arrow column or table.

    These are returned unchanged: pandas data with a single numeric NumPy dtype, pandas columns of dtype object, and
    data that is neither Arrow nor pandas.
    """
    if isinstance(value, pa.Array):
        return pa.chunked_array([value])
    if isinstance(value, pa.RecordBatch):
        return pa.Table.from_batches([value])
    if _is_pandas(value, "Series", "Index") and not _is_plain(value.dtype):
        return _as_column(value, where)
    if _is_pandas(value, "DataFrame") and (
        len(set(value.dtypes)) > 1 or not all(each.kind in "iuf" and _is_plain(each) for each in value.dtypes)
    ):
        return as_table(value, where)
    return value


def _is_plain(dtype: Any) -> bool:
    """Returns whether a pandas dtype is a NumPy dtype of numbers or objects."""
    return isinstance(dtype, np.dtype) and dtype.kind in "iufO"


def _as_column(values: Any, where: str) -> pa.ChunkedArray:
    if isinstance(values, pa.ChunkedArray):
        return values
    if isinstance(values, (str, bytes, *UNORDERED)) or not isinstance(values, Iterable):
        raise UserError(f"{where}: found {type(values).__name__}; give a list, an array or a column")
    if not isinstance(values, pa.Array) and not _is_pandas(values, "Series", "Index"):
        array = _in_numpy(values)
        values = list(values) if array is None else array
    try:
        found = pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"{where}: cannot be converted to an Arrow column ({reason(error)}); give values of one type"
        ) from error
    return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])


def _in_numpy(value: Any) -> np.ndarray | None:
    """Returns any library's array as a NumPy array, without a copy if possible; None if it is not an array."""
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        # NumPy has no bfloat16.
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    if not hasattr(value, "__array__"):
        return None
    return np.asarray(value)


def _is_number(dtype: np.dtype) -> bool:
    if dtype.kind in "iuf":
        return True
    try:
        return dtype.kind != "c" and bool(ml_dtypes.finfo(dtype))
    except ValueError:
        return False


def _safely_mapped(array: np.ndarray) -> np.ndarray:
    """Returns the array itself, or a copy in memory if it may be a private memory map.

    `blocks.in_blocks` releases the memory pages that it has read. Changes to a private map are only in these memory
    pages, not in the file, and would be lost.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and base.mode in ("r", "r+"):
            return np.asarray(array)
        base = base.base
    return np.array(array) if isinstance(base, mmap.mmap) else array


def _stacked(rows: Sequence[Any] | np.ndarray, where: str) -> np.ndarray:
    """Returns N rows as `[N, D]` float32. Each row is converted directly into the result, without another copy."""
    if not len(rows):
        raise UserError(f"{where}: empty; give at least one vector")
    stacked = np.empty((0, 0), np.float32)
    for number, row in enumerate(rows):
        values = _row(row, number, where)
        if not number:
            stacked = np.empty((len(rows), len(values)), np.float32)
        if len(values) != stacked.shape[1]:
            raise UserError(
                f"{where}: row {number} (counted from 0) has {len(values)} values, but row 0 has {stacked.shape[1]}; "
                "give vectors of one length"
            )
        with np.errstate(over="ignore"):
            stacked[number] = values
    return stacked


def _row(row: Any, number: int, where: str) -> np.ndarray:
    if row is None:
        raise UserError(f"{where}: row {number} (counted from 0) is null; remove the rows that are null")
    try:
        array = _in_numpy(row)
        array = np.asarray(row) if array is None else array
        if array.dtype == object:  # The dtype is object if, for example, a value is None.
            array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"{where}: row {number} (counted from 0) is {shown(row)}; each row must be a list of numbers"
        ) from error
    if not _is_number(array.dtype) or array.ndim != 1 or not array.size:
        raise UserError(f"{where}: row {number} (counted from 0) is {shown(row)}; each row must be a list of numbers")
    return array


def _vectors_of_table(table: pa.Table, where: str) -> np.ndarray:
    """Returns a table of numbers as `[N, D]`, with NaN for null."""
    if not table.num_rows or not table.num_columns:
        raise UserError(f"{where}: the table has the shape {list(table.shape)}; give at least one row and one column")
    vectors = np.empty(table.shape, np.float32)
    for place, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            remedy = "keep only the columns of numbers"
            if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
                remedy = (
                    "give this column alone, or set vector_column to its name, and id_column to the name of the column "
                    "of ids"
                )
            raise UserError(f"{where}: column {name!r} of the table holds {column.type}; {remedy}")
        with np.errstate(over="ignore"):
            vectors[:, place] = column.to_numpy()
    return vectors


def _ids_of_list(values: list[Any], where: str) -> np.ndarray:
    try:
        values = [each.decode() if isinstance(each, bytes) else each for each in values]
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: an id is not UTF-8 text ({reason(error)}); give the ids as text") from error
    values = [str(each) if isinstance(each, (str, uuid.UUID)) else each for each in values]
    is_text = bool(values) and isinstance(values[0], str)
    for row, each in enumerate(values):
        is_id = isinstance(each, str) if is_text else isinstance(each, (int, np.integer)) and not isinstance(each, bool)
        if not is_id:
            raise UserError(f"{where}: row {row} (counted from 0) is {shown(each)}; {_IDS}")
    try:
        if is_text:
            pa.array(values, pa.string())  # This fails for lone surrogates, which UTF-8 cannot encode.
        return np.array(values, dtype=object if is_text else np.int64)
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: an id cannot be encoded as UTF-8 ({reason(error)}); correct the id") from error
    except OverflowError as error:
        raise UserError(f"{where}: an id is too large for a 64-bit signed integer; give the ids as strings") from error
