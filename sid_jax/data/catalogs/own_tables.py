"""Columns of a catalog of yours, from .parquet, .csv or .jsonl files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from sid_jax.data.arrow_columns import ids_from_arrow
from sid_jax.data.catalogs.records import read_records
from sid_jax.data.checks import check_unique
from sid_jax.data.csv_columns import as_text, csv_names
from sid_jax.data.parts.find_files import is_pattern
from sid_jax.data.reason import reason
from sid_jax.data.text.template import clean
from sid_jax.errors import UserError

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
        found, values = _read(file, id_column, list(columns))
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


def _read(path: Path, id_column: str, names: list[str]) -> tuple[np.ndarray, Columns]:
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
