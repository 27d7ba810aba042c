"""Parts of .npy files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sid_jax.data.arrow_columns import FLOAT_TYPES, as_float32
from sid_jax.data.npy_file import open_npy, read_rows
from sid_jax.data.parts.part import Columns, Part
from sid_jax.errors import UserError


class Npy:
    """An array `[N, D]` of floats."""

    has_ids = False

    def look(self, path: Path, columns: Columns, rows: int) -> tuple[int, list[Part]]:
        """Returns D and the parts."""
        array = open_npy(path)
        if array.ndim != 2 or array.dtype.kind != "f" or array.dtype.itemsize > 8 or not array.shape[1]:
            raise UserError(
                f"{path}: expected {FLOAT_TYPES} vectors [N, D], found {array.dtype} {list(array.shape)}; save it anew"
            )
        if not array.flags.c_contiguous:
            raise UserError(
                f"{path}: lies column by column; save it anew by np.save(path, np.ascontiguousarray(array))"
            )
        starts = range(0, len(array), rows)
        return array.shape[1], [Part(str(path), start, min(rows, len(array) - start)) for start in starts]

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[None, np.ndarray]]:
        """Yields vectors."""
        array = open_npy(Path(part.path))
        with Path(part.path).open("rb") as file:
            # Not from the map, for the reason that `read_rows` has.
            file.seek(array.offset + part.first_row * array.strides[0])
            for start in range(0, part.num_rows, rows):
                count = min(rows, part.num_rows - start)
                yield None, as_float32(np.fromfile(file, array.dtype, count * array.shape[1]).reshape(count, -1))

    def rows(self, part: Part, columns: Columns, wanted: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yields chosen vectors."""
        array = open_npy(Path(part.path))
        for first in range(0, len(wanted), rows):
            chosen = part.first_row + wanted[first : first + rows]
            yield as_float32(read_rows(Path(part.path), array.offset, chosen, array.dtype, array.shape[1]))
