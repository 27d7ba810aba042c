"""Reads records from JSON: one object per line, or one object of objects."""

from __future__ import annotations

import ast
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sid_jax.data.file_content import open_plain
from sid_jax.data.id_lists import numbers_if_whole
from sid_jax.data.numbered import ids_of_numbers
from sid_jax.data.parts.part import reading
from sid_jax.errors import UserError, reason


def read_records(
    path: Path, is_wanted: Callable[[bytes], bool] = lambda line: True
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields each record of a file with its line number, from 1; the file may be larger than memory.

    Args:
      path: a file, gzipped or not, with one JSON object per line, or with one Python dict per line, as in Amazon's
        metadata of 2014. A dict is parsed as a literal, and never evaluated as code.
      is_wanted: returns whether a line is to be parsed.

    Raises:
      UserError: if the file is missing or damaged, or a line is not a record.
    """
    number = 0
    try:
        with open_plain(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip() and is_wanted(line):
                    yield number, _parse(line, f"{path}: line {number}")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: cannot be read after line {number} ({reason(error)}); download the file again, or give another "
            "one"
        ) from error


def read_object(path: Path, id_column: str = "item_id") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields each record of a JSON file `{id: {name: value}}`, gzipped or not, with its number, from 1.

    Ids are integers if all are whole numbers. If the folder has a list of ids (`sid_jax.data.numbered.LISTS`),
    these integers are item numbers, and are replaced by the ids.
    """
    with reading(path, ".json", EOFError, zlib.error), open_plain(path) as file:
        content = json.loads(file.read())
    if not isinstance(content, dict) or not all(isinstance(record, dict) for record in content.values()):
        raise UserError(
            f'{path}: expected one JSON object, {{"item": {{"title": "..."}}, ...}}, or one object per line'
        )
    ids = ids_of_numbers(path, numbers_if_whole(list(content)))
    for number, (item_id, record) in enumerate(zip(ids.tolist(), content.values(), strict=True), 1):
        yield number, {id_column: item_id, **{name: value for name, value in record.items() if name != id_column}}


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = _literal(line, where)
    if not isinstance(record, dict):
        raise UserError(f"{where}: found {type(record).__name__}; write one JSON object per line")
    return record


def _literal(line: bytes, where: str) -> Any:
    try:
        return ast.literal_eval(line.decode().strip())
    # `literal_eval` raises a TypeError for a set of dicts.
    except (TypeError, ValueError, SyntaxError, MemoryError, RecursionError) as error:
        # The parser's own message is omitted: it has an object's memory address, but no position in the line.
        raise UserError(f"{where}: neither JSON nor a Python dict; download the file again") from error
