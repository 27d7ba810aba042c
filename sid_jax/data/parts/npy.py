"""Parts of .npy files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sid_jax.data.arrow_columns import as_float32
from sid_jax.data.blocks import forget_pages, take_rows
from sid_jax.data.npy_file import check_vectors, open_npy, read_rows
from sid_jax.data.parts.part import Columns, Kind, Look, Part, even_parts


class Npy(Kind):
    """An array `[N, D]` of floats, without ids."""

    def look(self, path: Path, columns: Columns, rows: int) -> Look:
        """Returns what there is to know."""
        num_items, num_features = _opened(path).shape
        return Look(num_features, even_parts(path, num_items, rows), has_ids=False)

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[None, np.ndarray]]:
        """Yields vectors."""
        path, array = Path(part.path), _opened(Path(part.path))
        if not array.flags.c_contiguous:
            for start in range(part.first_row, part.first_row + part.num_rows, rows):
                yield None, as_float32(array[start : min(start + rows, part.first_row + part.num_rows)])
                forget_pages(array)
            return
        with path.open("rb") as file:
            # Not from the map, for the reason that `read_rows` has.
            file.seek(array.offset + part.first_row * array.strides[0])
            for start in range(0, part.num_rows, rows):
                count = min(rows, part.num_rows - start)
                block = np.fromfile(file, array.dtype, count * array.shape[1])
                yield None, as_float32(block.reshape(-1, array.shape[1]))

    def rows(self, part: Part, columns: Columns, wanted: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yields chosen vectors."""
        path, array = Path(part.path), _opened(Path(part.path))
        for first in range(0, len(wanted), rows):
            chosen = part.first_row + wanted[first : first + rows]
            if array.flags.c_contiguous:
                yield as_float32(read_rows(path, array.offset, chosen, array.dtype, array.shape[1]))
            else:
                yield as_float32(take_rows(array, chosen))

    def mapped(self, path: Path) -> np.ndarray | None:
        """Returns all vectors of a file of float32, row by row."""
        array = _opened(path)
        return np.asarray(array) if array.dtype == np.float32 and array.flags.c_contiguous else None


def _opened(path: Path) -> Any:
    array = open_npy(path)
    return array.view(check_vectors(path, array.dtype, array.shape))
