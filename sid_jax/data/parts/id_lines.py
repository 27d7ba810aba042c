"""Ids in a text file of any length, one a line, read from any line on."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sid_jax.data.reason import reason
from sid_jax.errors import UserError


def line_offsets(ids_path: Path, starts: Sequence[int], num_rows: int, path: str) -> list[int]:
    """Returns where the lines with these numbers begin, in bytes.

    Args:
      ids_path: the file of ids.
      starts: numbers of lines, in rising order, counted from 0.
      num_rows: how many lines there must be.
      path: the file of vectors that the ids belong to.

    Raises:
      UserError: if it cannot be read, a line is empty, or there are more or fewer.
    """
    offsets, wanted, count, position = [], iter([*starts, -1]), 0, 0
    following = next(wanted)
    try:
        with ids_path.open("rb") as file:
            for line in file:
                if count == following:
                    offsets.append(position)
                    following = next(wanted)
                if not line.strip(b"\r\n"):
                    raise UserError(f"{ids_path}: line {count + 1} is empty; give one id a line")
                position, count = position + len(line), count + 1
    except OSError as error:
        raise UserError(f"{ids_path}: {os.strerror(error.errno or 0)}; give a file with one id a line") from error
    if count != num_rows:
        raise UserError(f"{ids_path}: holds {count} ids, but {path} holds {num_rows} vectors; give one id a row")
    return offsets


def read_lines(ids_path: str, offset: int, count: int) -> Iterator[str]:
    """Yields so many ids, from the line that begins at a byte on.

    Raises:
      UserError: if they are not UTF-8.
    """
    with Path(ids_path).open("rb") as file:
        file.seek(offset)
        for line in itertools.islice(file, count):
            try:
                yield line.decode("utf-8" if offset else "utf-8-sig").rstrip("\n")
            except UnicodeDecodeError as error:
                raise UserError(f"{ids_path}: is not UTF-8 text ({reason(error)})") from error
