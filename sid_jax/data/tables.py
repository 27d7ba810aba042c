"""Reads tables that describe items: Parquet, Arrow, CSV and RecBole's files by column, and JSON by record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from sid_jax.buckets.fetch import is_folder
from sid_jax.buckets.place import File, RemoteFile
from sid_jax.data.arrow_columns import ids_from_arrow, is_nested, plain
from sid_jax.data.csv_files import as_text, csv_format, csv_names, csv_source
from sid_jax.data.file_content import check_content
from sid_jax.data.id_lists import check_unique
from sid_jax.data.json_records import read_object, read_records
from sid_jax.data.listing import ending, find_files, find_remote_files
from sid_jax.data.parts.part import reading
from sid_jax.data.parts.tables import arrow_opener
from sid_jax.data.text.template import clean, value_text
from sid_jax.errors import UserError, reason
from sid_jax.paths import as_path, bucket_address

# Endings of tables that are read by column.
TABLE_ENDINGS = (".parquet", ".feather", ".arrow", ".csv", ".csv.gz", ".inter", ".item")
ENDINGS = (*TABLE_ENDINGS[:4], ".jsonl", ".jsonl.gz", *TABLE_ENDINGS[4:], ".json", ".json.gz")
# Files with these endings are ignored in a folder of tables, since they may be files of another kind.
_NOT_OF_FOLDERS = (".inter", ".item", ".json", ".json.gz")
_ARROW = (".feather", ".arrow")
# RecBole's tab-separated files, with the type of each column in the header, as in item_id:token.
_ATOMIC = (".inter", ".item")
_ATOMIC_TYPES = {"float": pa.float64(), "token_seq": pa.list_(pa.string()), "float_seq": pa.list_(pa.float64())}

_SETTINGS = "; correct --config.data.id_column, --config.data.text_column or --config.data.columns"

# A `token_seq` column of a RecBole file holds either texts or lists of labels, such as categories. It is read as texts
# if its name is one of these words, or ends with one of them after an underscore, as movie_title does.
_WORDS = ("title", "name", "text", "description", "brand", "store", "author")

# A column of N values: a `pa.ChunkedArray`, or a list of JSON values, which may be of several types.
Values = Sequence[Any]


def read_own_tables(path: str, id_column: str, names: Sequence[str]) -> tuple[np.ndarray, dict[str, Values]]:
    """Reads ids and columns of N items.

    Args:
      path: a file, a folder of files of one kind, or a pattern such as "items/*.csv". The files of a folder or a
        pattern are read in the order of their names.
      id_column: column of strings or integers.
      names: further columns. Columns of a .csv file are text, so that "007" is kept.

    Returns:
      `[N]` ids, int64 or object (str), and N values per column, null where a value is missing or a .csv field is empty.

    Raises:
      UserError: if there is no such file or column, a file is damaged or empty, or an id is null or occurs twice.
    """
    files = find_remote_files(path, ".parquet", _endings(path, ENDINGS))
    endings = sorted({ending(file, ENDINGS) for file in files})
    if len(endings) > 1:
        raise UserError(f"{path}: contains {' and '.join(endings)} files; give only the files of the catalog")
    read = [_reader(endings[0])(file, id_column, names) for file in files]
    for file, (ids, _) in zip(files, read, strict=True):
        if not len(ids):
            raise UserError(f"{file}: has no rows; give one row per item")
    if len({ids.dtype for ids, _ in read}) > 1:
        raise UserError(f"{path}: ids are text in some files and numbers in others; give ids of one type")
    joined = np.concatenate([ids for ids, _ in read])
    check_unique(joined, path)
    return joined, {name: _joined([columns[name] for _, columns in read]) for name in names}


def exported_column(values: Values | np.ndarray) -> pa.ChunkedArray:
    """Converts a column `[N]` to the Arrow column of an export. The type and the nulls are kept where possible.

    Lists, and values without a common Arrow type, become text; the entries of a list are separated by commas.
    """
    try:
        column = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([pa.array(values)])
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        column = None
    if column is not None and pa.types.is_run_end_encoded(column.type):
        column = plain(column)
    if column is None or is_nested(column.type):
        texts = [None if value is None else value_text(value) for value in python_values(values)]
        return pa.chunked_array([pa.array(texts, pa.string())])
    # Columns of these two types are converted to strings: pa.null(), the type of a column that has only nulls, and
    # pa.string_view(), which few readers support.
    return column.cast(pa.string()) if column.type in (pa.null(), pa.string_view()) else column


def python_values(values: Values | np.ndarray) -> list[Any]:
    """Returns a column's N values, None for null."""
    return values.to_pylist() if isinstance(values, (pa.Array, pa.ChunkedArray)) else list(values)


def read_columns(
    path: str | Path, names: Sequence[str], *, guessed: Sequence[str] = (), advice: str = "", newlines: bool = False
) -> pa.Table:
    """Returns the given columns of table files as one table, with the rows of all files.

    Args:
      path: files, see `find_files`.
      names: the columns; in a .csv file they are read as text.
      guessed: further columns, such as numbers and times; in a .csv file, Arrow infers their types.
      advice: appended to the error for a missing column.
      newlines: whether values of a .csv file may contain line breaks, which makes reading slower.

    Raises:
      UserError: if the file is missing or damaged, or lacks a column.
    """
    kind = Path(path).suffix
    if kind and ending(Path(path), TABLE_ENDINGS) not in TABLE_ENDINGS and not _is_folder(path):
        raise UserError(f"{path}: unknown kind of file {kind!r}; give one of {', '.join(TABLE_ENDINGS)}")
    files = find_remote_files(str(path), ".parquet", _endings(path, TABLE_ENDINGS))
    return _one_table(path, [_read_file(each, names, guessed, advice, newlines) for each in files])


def read_whole_tables(path: str | Path, *, guessed: Sequence[str] = ()) -> pa.Table:
    """Returns all columns of table files as one table; a column that a file lacks is null in the rows of that file.

    Args:
      path: files with one of the `ENDINGS`, see `find_files`.
      guessed: columns whose types Arrow infers if they are in a .csv file; the other columns of a .csv file are text.

    Raises:
      UserError: if a file is missing, damaged or empty, or a column's types in the files are incompatible.
    """
    tables = []
    for file in find_files(str(path), _endings(path, ENDINGS)):
        tables.append(_read_whole(file, guessed))
        if not tables[-1].num_columns or not len(tables[-1]):
            raise UserError(f"{file}: empty; give a table with a column of item ids")
    return _one_table(path, tables)


def _read_whole(path: Path, guessed: Sequence[str]) -> pa.Table:
    if path.suffix.lower() == ".jsonl":
        with reading(path, path.suffix):
            return pa_json.read_json(path)
    names = column_names(path)
    if ending(path, ENDINGS) not in TABLE_ENDINGS:
        ids, columns = _read_records(path, names[0], names[1:])
        with reading(path, path.suffix):
            return pa.table({names[0]: ids, **{name: pa.array(python_values(each)) for name, each in columns.items()}})
    there = [name for name in guessed if name in names]
    return _read_file(path, [name for name in names if name not in there], there, "", False)


def _one_table(path: str | Path, tables: Sequence[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise UserError(
            f"{path}: the columns have different types in different files ({reason(error)}); give columns of one type"
        ) from error


def _endings(path: str | Path, endings: Sequence[str]) -> list[str]:
    return [each for each in endings if each not in _NOT_OF_FOLDERS or not _is_folder(path)]


def _is_folder(path: str | Path) -> bool:
    address = bucket_address(path)
    return as_path(path).is_dir() if address is None else is_folder(address)


def column_names(path: Path) -> list[str]:
    """Returns the column names of a file with one of the `ENDINGS`; for JSON, all names in its records.

    Raises:
      UserError: if the file cannot be read.
    """
    check_content(path)
    kind = ending(path, ENDINGS)
    if kind not in TABLE_ENDINGS:
        records = (record for _, record in (read_records(path) if ".jsonl" in kind else read_object(path)))
        return list(dict.fromkeys(name for record in records for name in record))
    with reading(path, kind):
        if kind in _ATOMIC:
            return list(_atomic_types(path))
        if kind in _ARROW:
            with pa.memory_map(str(path)) as source, arrow_opener(path)(source) as reader:
                return reader.schema.names
        return pq.read_schema(path).names if kind == ".parquet" else csv_names(path, csv_format(path))


def _atomic_types(path: Path) -> dict[str, str]:
    """Returns the type of each column of a RecBole file, by name."""
    names = csv_names(path, pa_csv.ParseOptions(delimiter="\t"))
    return {name.rpartition(":")[0] or name: name.rpartition(":")[2] if ":" in name else "token" for name in names}


def _read_atomic(path: Path, wanted: Sequence[str], advice: str) -> pa.Table:
    types, form = _atomic_types(path), pa_csv.ParseOptions(delimiter="\t", newlines_in_values=True)
    _check_columns(path, wanted, list(types), advice)
    there = dict(zip(types, csv_names(path, form), strict=True))
    table = pa_csv.read_csv(path, parse_options=form, convert_options=as_text([there[name] for name in wanted]))
    columns = {name: table[there[name]] for name in wanted}
    for name, column in columns.items():
        kind = _ATOMIC_TYPES.get(types[name])
        column = pc.split_pattern(column, " ") if types[name].endswith("_seq") else column
        columns[name] = column if kind is None else column.cast(kind)
    return pa.table(columns)


def _read_file(path: File, names: Sequence[str], guessed: Sequence[str], advice: str, newlines: bool) -> pa.Table:
    wanted = list(dict.fromkeys([*names, *guessed]))
    try:
        if isinstance(path, RemoteFile):
            with path.open() as source, pq.ParquetFile(source) as file:
                _check_columns(path, wanted, file.schema_arrow.names, advice)
                return file.read(wanted)
        is_csv = ending(path, TABLE_ENDINGS).startswith(".csv")
        if path.suffix.lower() in _ATOMIC:
            return _read_atomic(path, wanted, advice)
        if path.suffix.lower() in _ARROW:
            return _read_arrow(path, wanted, advice)
        if is_csv:
            form = csv_format(path, newlines=newlines)
            _check_columns(path, wanted, csv_names(path, form), advice)
            with csv_source(path) as source:
                return pa_csv.read_csv(source, parse_options=form, convert_options=as_text(names, guessed=guessed))
        _check_columns(path, wanted, pq.read_schema(path).names, advice)
        return pq.read_table(path, columns=wanted, partitioning=None)
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise UserError(
            f"{path}: not a readable {path.suffix} file ({reason(error)}); write the file again, and text in UTF-8"
        ) from error


def table_with(path: Path, names: Sequence[str]) -> pa.Table:
    """Returns the columns with these names that an Arrow file has; names that it lacks are ignored.

    Raises:
      UserError: if the file cannot be read.
    """
    with reading(path, "Arrow"), pa.memory_map(str(path)) as source, arrow_opener(path)(source) as reader:
        there = [name for name in names if name in reader.schema.names]
    return _read_file(path, there, (), "", False) if there else pa.table({})


def _read_arrow(path: Path, names: Sequence[str], advice: str) -> pa.Table:
    with pa.memory_map(str(path)) as source, arrow_opener(path)(source) as reader:
        _check_columns(path, names, reader.schema.names, advice)
        table = reader.read_all().select(names)
        table.validate(full=True)
        return table


def _reader(kind: str) -> Callable[[Any, str, Sequence[str]], tuple[np.ndarray, Mapping[str, Values]]]:
    return _read_table if kind in TABLE_ENDINGS else _read_records


def _read_table(path: File, id_column: str, names: Sequence[str]) -> tuple[np.ndarray, Mapping[str, Values]]:
    table = read_columns(str(path), [id_column, *names], advice=_SETTINGS, newlines=True)
    columns = {name: _text(path, name, table[name]) for name in names}
    return ids_from_arrow(table[id_column], f"{path}: column {id_column!r}"), columns


def _text(path: File, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Converts a column of text to strings, and returns any other column unchanged.

    Text may be stored as bytes. In RecBole's files, a text of several words has the type `token_seq`, a list of words.
    """
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return column.cast(pa.large_string() if pa.types.is_large_binary(kind) else pa.string())
        except pa.ArrowException:
            return column  # Bytes that are not UTF-8 text, such as images.
    if ending(path, TABLE_ENDINGS) in _ATOMIC and kind == _ATOMIC_TYPES["token_seq"]:
        texts = pc.binary_join(column, " ")
        # `sid-jax convert` writes a list as one text, with ", " between its entries. A column is therefore read as text
        # if any of its values contains ", ".
        is_text = name.rpartition("_")[2] in _WORDS or pc.any(pc.match_substring(texts, ", ")).as_py()
        return texts if is_text else column
    return column


def _read_records(path: Path, id_column: str, names: Sequence[str]) -> tuple[np.ndarray, Mapping[str, Values]]:
    ids: list[str | int] = []
    columns: dict[str, list[Any]] = {name: [] for name in names}
    there: dict[str, None] = {}
    lines = ".jsonl" in path.name.lower()
    for number, record in read_records(path) if lines else read_object(path, id_column):
        where = f"{path}: {'line' if lines else 'record'} {number}"
        there.update(dict.fromkeys(record))
        item_id = record.get(id_column)
        if isinstance(item_id, bool) or not isinstance(item_id, (str, int)) or clean(str(item_id)) != str(item_id):
            _check_columns(path, [id_column], list(record), _SETTINGS)
            raise UserError(f"{where}: {id_column!r} is {item_id!r}; give text or a whole number")
        if ids and isinstance(item_id, str) != isinstance(ids[0], str):
            raise UserError(
                f"{where}: {id_column!r} is {item_id!r}, but ids before it have another type; give ids of one type"
            )
        ids.append(item_id)
        for name, column in columns.items():
            column.append(record.get(name))
    if ids:
        _check_columns(path, names, list(there), _SETTINGS)
    try:
        return np.array(ids, dtype=object if ids and isinstance(ids[0], str) else np.int64), columns
    except OverflowError as error:
        raise UserError(
            f"{path}: an id in {id_column!r} is too large for a 64-bit integer; write the ids as text"
        ) from error


def _joined(parts: list[Values]) -> Values:
    """Concatenates the values that several files have in one column."""
    arrow = [part for part in parts if isinstance(part, pa.ChunkedArray)]
    if len(arrow) == len(parts) and len({part.type for part in arrow}) == 1:
        return pa.chunked_array([chunk for part in arrow for chunk in part.chunks], arrow[0].type)
    return list(chain.from_iterable(map(python_values, parts)))


def _check_columns(path: File, wanted: Sequence[str], there: Sequence[str], advice: str) -> None:
    missing = [name for name in wanted if name not in there]
    if missing:
        raise UserError(
            f"{path}: no column {missing[0]!r}; its columns are {' '.join(', '.join(there).split())}{advice}"
        )
