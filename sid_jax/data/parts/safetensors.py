"""Parts of .safetensors files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError, safe_open

from sid_jax.data.arrow_columns import FLOAT_TYPES, as_float32, ids_from_numpy
from sid_jax.data.parts.part import Columns, Kind, Look, Part, even_parts, reading
from sid_jax.errors import UserError

_FLOAT_TYPES = ("F16", "BF16", "F32", "F64")
# The library takes up to 100 MB, and a few times as much memory to read them.
_LONGEST_HEADER = 2**24


class Safetensors(Kind):
    """A tensor `[N, D]` of floats, and perhaps one `[N]` of whole numbers, the ids."""

    def look(self, path: Path, columns: Columns, rows: int) -> Look:
        """Returns what there is to know."""
        with _opened(path, columns) as (vectors, ids):
            num_items, num_features = vectors.get_shape()
            return Look(num_features, even_parts(path, num_items, rows), has_ids=ids is not None)

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[pa.Array | None, np.ndarray]]:
        """Yields ids, where there are some, and vectors."""
        path, end = Path(part.path), part.first_row + part.num_rows
        with _opened(path, columns) as (vectors, ids):
            for start in range(part.first_row, end, rows):
                chosen = slice(start, min(start + rows, end))
                found = None if ids is None else ids_from_numpy(ids[chosen], f"{path}: ids", first_row=start)
                yield found, as_float32(vectors[chosen])


@contextlib.contextmanager
def _opened(path: Path, columns: Columns) -> Iterator[tuple[Any, Any]]:
    """Gives what rows of the two tensors can be taken from, the second None where there is none."""
    with reading(path, ".safetensors"):
        with path.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        try:
            file = safe_open(path, "np")
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        with file:
            names = list(file.keys())
            name = columns.find("vector_column", names, path)
            id_name = columns.find_if_any("id_column", names, path)
            vectors, ids = file.get_slice(name), file.get_slice(id_name) if id_name else None
            _check(path, vectors, ids)
            yield vectors, ids


def _check(path: Path, vectors: Any, ids: Any) -> None:
    kind, shape = vectors.get_dtype(), vectors.get_shape()
    if kind not in _FLOAT_TYPES or len(shape) != 2 or shape[1] < 1:
        raise UserError(f"{path}: expected a tensor [N, D] of bfloat16, {FLOAT_TYPES}, found {kind} {shape}")
    if ids is not None and ids.get_shape() != shape[:1]:
        raise UserError(f"{path}: holds ids of shape {ids.get_shape()}, but {shape[0]} vectors; give one id a row")
