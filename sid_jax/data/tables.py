"""Tables that describe items: .parquet, .csv and lines of JSON, read column by column or record by record."""

from __future__ import annotations

import ast
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from sid_jax.data.arrow_columns import ids_from_arrow
from sid_jax.data.id_lists import check_unique
from sid_jax.data.parts.files import is_pattern
from sid_jax.data.text.template import clean
from sid_jax.errors import UserError, reason


def csv_names(path: Path, parse_options: pa_csv.ParseOptions | None = None) -> list[str]:
    """Returns the names of a file's columns, from its first line."""
    with pa_csv.open_csv(path, parse_options=parse_options) as reader:
        return reader.schema.names


def as_text(names: Sequence[str], *, guessed: Sequence[str] = ()) -> pa_csv.ConvertOptions:
    """Returns how Arrow is to read these columns and no others: as they stand, and null only where they are empty.

    Args:
      names: of columns of text.
      guessed: of columns whose type Arrow is to find out, such as numbers and times.
    """
    return pa_csv.ConvertOptions(
        include_columns=list(dict.fromkeys([*names, *guessed])),
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
    )


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


# By name, the values of all rows.
Columns = dict[str, list[Any]]

ENDINGS = (".parquet", ".csv", ".jsonl", ".jsonl.gz")


def read_own_tables(path: str, id_column: str, names: Sequence[str]) -> tuple[np.ndarray, Columns]:
    """Reads ids and columns of N items.

    Args:
      path: a file; a folder of files of one kind, or a pattern such as "items/*.csv", in the order of their names.
      id_column: strings or integers.
      names: of further columns: text, numbers, or lists of them. In a .csv file all is text, so that "007" stays what
        it is.

    Returns:
      `[N]` ids, int64 or object (str), and each column's N values; None for what is null, or empty in a .csv file.

    Raises:
      UserError: if there is no such file or column, a file is damaged or empty, or an id is null or occurs twice.
    """
    ids: list[np.ndarray] = []
    columns: Columns = {name: [] for name in names}
    for file in _files(path):
        found, values = _read_columns(file, id_column, list(columns))
        if not len(found):
            raise UserError(f"{file}: holds no rows")
        ids.append(found)
        for name, column in columns.items():
            column += values[name]
    if len({each.dtype for each in ids}) > 1:
        raise UserError(f"{path}: ids are text in some files and numbers in others; give all of them one type")
    joined = np.concatenate(ids)
    check_unique(joined, path)
    return joined, columns


def _files(text: str) -> list[Path]:
    path = Path(text).expanduser()
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if each.name.endswith(ENDINGS))
    elif is_pattern(path):
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    else:
        found = [path] if path.is_file() else []
    if not found:
        raise UserError(f"{text}: no such file; give {', '.join(ENDINGS)} files, or a folder of them")
    endings = {_ending(each) for each in found}
    if len(endings) > 1:
        raise UserError(f"{text}: holds {' and '.join(sorted(endings))} files; name those that are the catalog")
    return found


def _ending(path: Path) -> str:
    for ending in ENDINGS:
        if path.name.endswith(ending):
            return ending
    raise UserError(f"{path}: unknown kind of file {path.suffix!r}; give one of {', '.join(ENDINGS)}")


def _read_columns(path: Path, id_column: str, names: list[str]) -> tuple[np.ndarray, Columns]:
    ending = _ending(path)
    if ending.startswith(".jsonl"):
        return _read_lines(path, id_column, names)
    wanted = list(dict.fromkeys([id_column, *names]))
    try:
        table = {".parquet": _read_parquet, ".csv": _read_csv}[ending](path, wanted)
        ids = ids_from_arrow(table[id_column], f"{path}: column {id_column!r}")
        return ids, {name: table[name].to_pylist() for name in names}
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise UserError(f"{path}: not a readable {ending} file ({reason(error)}); write it anew, in UTF-8") from error


def _read_parquet(path: Path, wanted: list[str]) -> pa.Table:
    _check_columns(path, wanted, pq.read_schema(path).names)
    return pq.read_table(path, columns=wanted)


def _read_csv(path: Path, wanted: list[str]) -> pa.Table:
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    _check_columns(path, wanted, csv_names(path, parse))
    return pa_csv.read_csv(path, parse_options=parse, convert_options=as_text(wanted))


def _read_lines(path: Path, id_column: str, names: list[str]) -> tuple[np.ndarray, Columns]:
    ids: list[str | int] = []
    columns: Columns = {name: [] for name in names}
    there: dict[str, None] = {}
    for number, record in read_records(path):
        there.update(dict.fromkeys(record))
        item_id = record.get(id_column)
        if isinstance(item_id, bool) or not isinstance(item_id, (str, int)) or clean(str(item_id)) != str(item_id):
            _check_columns(path, [id_column], list(record))
            raise UserError(f"{path}: line {number}: {id_column!r} is {item_id!r}; give text or a whole number")
        if ids and isinstance(item_id, str) != isinstance(ids[0], str):
            raise UserError(
                f"{path}: line {number}: {id_column!r} is {item_id!r}, unlike the lines before; give all one type"
            )
        ids.append(item_id)
        for name, column in columns.items():
            column.append(record.get(name))
    if ids:
        _check_columns(path, names, list(there))
    try:
        return np.array(ids, dtype=object if ids and isinstance(ids[0], str) else np.int64), columns
    except OverflowError as error:
        raise UserError(f"{path}: {id_column!r} is too large for a 64-bit integer; write ids as text") from error


def _check_columns(path: Path, wanted: list[str], there: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in there]
    if missing:
        known = " ".join(", ".join(there).split())
        raise UserError(
            f"{path}: no column {missing[0]!r}; it has {known}: set --config.data.id_column, .text_column "
            "and .columns to some of these"
        )
