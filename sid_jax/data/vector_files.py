"""A user's own vectors, from a .npy or .parquet file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sid_jax.data.checks import check_finite, check_unique
from sid_jax.data.npy_file import open_npy
from sid_jax.data.reason import reason
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError

_FLOAT_TYPES = "float16, float32 or float64"


def read_vector_file(
    path: Path, *, id_column: str = "item_id", vector_column: str = "vector", ids_path: Path | None = None
) -> VectorSet:
    """Reads N items and their vectors.

    A .npy file of float32 stays memory-mapped: its pages are read when they are used.

    Args:
      path: a .npy file with an array `[N, D]`, or a .parquet file; float16, float32 or float64.
      id_column: .parquet only: the column of ids, strings or integers.
      vector_column: .parquet only: the column of vectors, lists or fixed-size lists.
      ids_path: .npy only: a UTF-8 text file with one id a line. None: ids are the row numbers.

    Raises:
      UserError: if a file is missing, damaged or of the wrong kind, or an id or vector is.
    """
    readers = {
        ".npy": lambda: _read_npy(path, ids_path),
        ".parquet": lambda: _read_parquet(path, id_column, vector_column),
    }
    if path.suffix not in readers:
        raise UserError(f"{path}: unknown kind of file {path.suffix!r}; give one of {', '.join(readers)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; set --config.data.path to a .npy or .parquet file")
    ids, vectors = readers[path.suffix]()
    check_unique(ids, str(path if ids_path is None else ids_path))
    check_finite(vectors, ids, str(path))
    return VectorSet(ids=ids, vectors=vectors, source=str(path))


def _read_npy(path: Path, ids_path: Path | None) -> tuple[np.ndarray, np.ndarray]:
    array = open_npy(path)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise UserError(f"{path}: expected {_FLOAT_TYPES}, found {array.dtype}; save it as float32")
    if array.ndim != 2 or 0 in array.shape:
        raise UserError(f"{path}: expected an array [N, D] with items and features, found shape {list(array.shape)}")
    ids = np.arange(len(array)) if ids_path is None else _read_ids(ids_path)
    if len(ids) != len(array):
        raise UserError(f"{ids_path}: holds {len(ids)} ids, but {path} holds {len(array)} vectors; give one id a row")
    return ids, _float32(array)


def _read_ids(path: Path) -> np.ndarray:
    try:
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read as UTF-8 text ({reason(error)}); give a file with one id a line"
        ) from error
    if "" in lines:
        raise UserError(f"{path}: line {lines.index('') + 1} is empty; give one id a line")
    return np.array(lines, dtype=object)


def _read_parquet(path: Path, id_column: str, vector_column: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        names = pq.read_schema(path, memory_map=True).names
    except (OSError, pa.ArrowException) as error:
        raise _unreadable_parquet(path, error) from error
    for setting, name in (("id_column", id_column), ("vector_column", vector_column)):
        if name not in names:
            raise UserError(f"{path}: no column {name!r}; set --config.data.{setting} to one of {', '.join(names)}")
    try:
        table = pq.read_table(path, columns=[id_column, vector_column], memory_map=True)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable_parquet(path, error) from error
    if not table.num_rows:
        raise UserError(f"{path}: holds no rows")
    ids = _ids_from_arrow(table[id_column], f"{path}: column {id_column!r}")
    return ids, _vectors_from_arrow(table[vector_column], f"{path}: column {vector_column!r}")


def _unreadable_parquet(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable .parquet file ({reason(error)}); write it anew")


def _ids_from_arrow(column: pa.ChunkedArray, where: str) -> np.ndarray:
    _refuse_nulls(column, where)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type):
        return _integers_from_arrow(column, where)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    raise UserError(f"{where}: expected ids that are strings or integers, found {column.type}")


def _integers_from_arrow(column: pa.ChunkedArray, where: str) -> np.ndarray:
    try:
        return column.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise UserError(f"{where}: an id is too large for a 64-bit signed integer; write the ids as strings") from error


def _vectors_from_arrow(column: pa.ChunkedArray, where: str) -> np.ndarray:
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise UserError(f"{where}: expected lists of {_FLOAT_TYPES}, found {kind}")
    _refuse_nulls(column, where)
    features = _common_length(column, where)
    blocks = [_float32(_block(chunk, features, where)) for chunk in column.chunks if len(chunk)]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _refuse_nulls(column: pa.ChunkedArray, where: str) -> None:
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise UserError(
            f"{where}: row {row} (counted from 0) is null, and {column.null_count} in all; leave out these rows"
        )


def _common_length(column: pa.ChunkedArray, where: str) -> int:
    lengths = pc.list_value_length(column).to_numpy()
    ragged = np.flatnonzero(lengths != lengths[0])
    if len(ragged):
        raise UserError(
            f"{where}: row {ragged[0]} (counted from 0) has {lengths[ragged[0]]} values, but row 0 has {lengths[0]}; "
            "give all vectors one length"
        )
    if not lengths[0]:
        raise UserError(f"{where}: the vectors are empty")
    return int(lengths[0])


def _block(chunk: pa.Array, features: int, where: str) -> np.ndarray:
    """Returns the chunk as `[n, D]`, without a copy."""
    values = chunk.flatten()
    if values.null_count:
        raise UserError(
            f"{where}: {values.null_count} values inside the vectors are null; fill them in or leave out the rows"
        )
    return values.to_numpy().reshape(-1, features)


def _float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # A float64 too large for float32 becomes infinite, which is refused by its row.
        return np.ascontiguousarray(array, dtype=np.float32)
