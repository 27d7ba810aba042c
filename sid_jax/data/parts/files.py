"""Reads item ids from a file that contains no vectors: a text file with one id per line, or a .npy array."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from sid_jax.data.arrow_columns import ids_as_array, ids_from_numpy
from sid_jax.data.file_content import check_content
from sid_jax.data.parts.arrays import open_npy
from sid_jax.errors import UserError, reason

# The first bytes of UTF-16 text.
_NOT_UTF8 = (b"\xff\xfe", b"\xfe\xff")


def id_offsets(ids_path: Path, starts: Sequence[int], num_rows: int, path: str) -> list[int]:
    """Returns the positions of the ids of given rows: row numbers in a .npy file, byte offsets in a text file.

    Args:
      ids_path: the file of ids.
      starts: row numbers, ascending, counted from 0.
      num_rows: the required number of ids.
      path: the file of vectors that the ids belong to.

    Raises:
      UserError: if the file cannot be read, a line is empty, or the number of ids is not `num_rows`.
    """
    check_content(ids_path)
    if ids_path.suffix.lower() == ".npy":
        array = open_npy(ids_path)
        if array.ndim != 1:
            raise UserError(f"{ids_path}: expected ids [N], found shape {list(array.shape)}")
        offsets, count = list(starts), len(array)
    else:
        offsets, count = _line_offsets(ids_path, starts)
    if count != num_rows:
        hint = ", and no header line" if count == num_rows + 1 and ids_path.suffix.lower() != ".npy" else ""
        raise UserError(f"{ids_path}: {count} ids, but {path} has {num_rows} vectors; give one id per vector{hint}")
    return offsets


def read_ids(ids_path: Path, num_rows: int, path: str) -> np.ndarray:
    """Returns all ids of a file, `[n]` int64 or object (str); see `id_offsets` for the errors."""
    offsets = id_offsets(ids_path, [0], num_rows, path)
    return ids_as_array(IdReader(str(ids_path), offsets[0], 0).read(num_rows))


def _line_offsets(ids_path: Path, starts: Sequence[int]) -> tuple[list[int], int]:
    """Returns the byte offsets of the lines `starts`, and the number of lines, not counting empty lines at the end."""
    offsets, wanted, count, position = [], iter([*starts, -1]), 0, 0
    following, empty = next(wanted), False
    try:
        with ids_path.open("rb") as file:
            for line in file:
                if position == 0 and (line.startswith(_NOT_UTF8) or b"\0" in line):
                    raise UserError(f"{ids_path}: not UTF-8 text; give a .npy file, or UTF-8 text with one id per line")
                if not line.strip():
                    empty = True
                    continue
                if empty:
                    raise UserError(f"{ids_path}: line {count + 1} is empty; write one id per line")
                if count == following:
                    offsets.append(position)
                    following = next(wanted)
                position, count = position + len(line), count + 1
    except OSError as error:
        raise UserError(f"{ids_path}: {os.strerror(error.errno or 0)}; give a file with one id per line") from error
    return offsets, count


class IdReader:
    """Reads the ids of a file in order.

    Args:
      ids_path: the file.
      offset: position of the first id, see `id_offsets`.
      row: row number of the first id, for error messages.
    """

    def __init__(self, ids_path: str, offset: int, row: int):
        self._path, self._row = Path(ids_path), row
        self._array = open_npy(self._path)[offset:] if self._path.suffix.lower() == ".npy" else None
        self._lines = _lines(self._path, offset, row)
        self._taken = 0

    def read(self, count: int) -> pa.Array:
        """Returns the next `count` ids, int64 or string.

        Raises:
          UserError: if an id is not UTF-8, or ids are neither integers nor strings.
        """
        start, self._taken = self._taken, self._taken + count
        if self._array is None:
            return pa.array(list(itertools.islice(self._lines, count)), pa.string())
        return ids_from_numpy(self._array[start : self._taken], str(self._path), first_row=self._row + start)


def _lines(path: Path, offset: int, row: int) -> Iterator[str]:
    with path.open("rb") as file:
        file.seek(offset)
        for number, line in enumerate(file, start=row + 1):
            try:
                yield line.decode("utf-8" if offset else "utf-8-sig").strip()
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path}: line {number} is not UTF-8 text ({reason(error)}); save the file as UTF-8"
                ) from error
