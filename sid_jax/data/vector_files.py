"""A user's own vectors, from a .npy or .parquet file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.data.arrow_columns import FLOAT_TYPES, as_float32, ids_from_arrow, vectors_from_arrow
from sid_jax.data.checks import check_finite, check_unique
from sid_jax.data.npy_file import open_npy
from sid_jax.data.reason import reason
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError


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
        raise UserError(f"{path}: expected {FLOAT_TYPES}, found {array.dtype}; save it as float32")
    if array.ndim != 2 or 0 in array.shape:
        raise UserError(f"{path}: expected an array [N, D] with items and features, found shape {list(array.shape)}")
    ids = np.arange(len(array)) if ids_path is None else _read_ids(ids_path)
    if len(ids) != len(array):
        raise UserError(f"{ids_path}: holds {len(ids)} ids, but {path} holds {len(array)} vectors; give one id a row")
    return ids, as_float32(array)


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
    ids = ids_from_arrow(table[id_column], f"{path}: column {id_column!r}")
    return ids, vectors_from_arrow(table[vector_column], f"{path}: column {vector_column!r}")


def _unreadable_parquet(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable .parquet file ({reason(error)}); write it anew")
