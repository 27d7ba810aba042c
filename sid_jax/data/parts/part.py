"""A part of a file of vectors, and what a kind of file must be able to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa


@dataclasses.dataclass(frozen=True)
class Part:
    """Some rows of a file, one after another.

    Attributes:
      path: the file.
      first_row: in the file.
      num_rows: how many.
      first_item: how many rows come before it in all files.
      row_groups: of a parquet file, from and to (not included).
      ids_path: the text file with its ids, if they are not in the file; empty if ids are row numbers.
      ids_offset: where the first one begins, in bytes.
    """

    path: str
    first_row: int
    num_rows: int
    first_item: int = 0
    row_groups: tuple[int, int] = (0, 0)
    ids_path: str = ""
    ids_offset: int = 0


@dataclasses.dataclass(frozen=True)
class Columns:
    """What the columns of a file that has some are called."""

    id_column: str
    vector_column: str


class Kind(Protocol):
    """A kind of file."""

    has_ids: bool

    def look(self, path: Path, columns: Columns, rows: int) -> tuple[int, list[Part]]:
        """Returns D and the file's parts of about so many rows, without reading it.

        Raises:
          UserError: if the file is no such file, or holds something else.
        """

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[pa.Array | None, np.ndarray]]:
        """Yields ids `[n]` (None without any) and vectors `[n, D]` float32, so many rows at a time."""

    def rows(self, part: Part, columns: Columns, wanted: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yields the vectors of rows that are counted from the part's first and sorted, so many at a time."""
