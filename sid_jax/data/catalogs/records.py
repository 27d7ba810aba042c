"""Records in lines, JSON or Python literals, gzipped or not, one after another: a file may be larger than memory."""

from __future__ import annotations

import ast
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from sid_jax.data.reason import reason
from sid_jax.errors import UserError

_GZIP = b"\x1f\x8b"


def read_records(
    path: Path, is_wanted: Callable[[bytes], bool] = lambda line: True
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields each record with the number of its line, from 1.

    Args:
      path: lines of JSON objects; or of Python dicts, as the metadata of 2014 is, which are read and never evaluated.
      is_wanted: says of a line whether it is to be parsed.

    Raises:
      UserError: if the file is missing or damaged, or a line is no record.
    """
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip() and is_wanted(line):
                    yield number, _parse(line, f"{path}: line {number}")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: cannot be read after line {number} ({reason(error)}); download it anew, or name another"
        ) from error


def _open(path: Path) -> BinaryIO:
    file = path.open("rb")
    start = file.read(2)
    file.seek(0)
    # By its content: browsers unpack a file and leave it its name.
    return gzip.open(file) if start == _GZIP else file  # type: ignore[return-value]


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = _literal(line, where)
    if not isinstance(record, dict):
        raise UserError(f"{where} is no record, but {type(record).__name__}; give one object in braces a line")
    return record


def _literal(line: bytes, where: str) -> Any:
    try:
        return ast.literal_eval(line.decode().strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise UserError(
            f"{where} is neither JSON nor a Python dict ({reason(error)}); download the file anew"
        ) from error
