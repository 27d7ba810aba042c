"""Semantic IDs from anywhere: an export's, another project's, or a plain array, read and brought to one catalog."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from sid_jax.data.arrow_columns import ids_from_arrow, refuse_nulls
from sid_jax.data.id_lists import check_unique
from sid_jax.data.listing import find_files
from sid_jax.data.parts.arrays import open_npy
from sid_jax.data.tables import as_text, csv_names
from sid_jax.errors import UserError, reason, shown
from sid_jax.export.artifact import WHOLE_FILE, table_files
from sid_jax.export.manifest import read_manifest
from sid_jax.ids.convert import is_text
from sid_jax.ids.table import IdTable
from sid_jax.messages import LOGGER
from sid_jax.paths import as_path

_LARGEST_CODE = np.iinfo(np.int32).max
# No tokenizer has IDs of so many codes: such a table is on its side, or something else.
_MOST_LEVELS = 256
# LETTER (Wang et al., 2405.07314) and its kin write a code as a token whose letter tells the level.
_TOKEN = re.compile(r"<(?:[A-Za-z]+_)+([0-9]{1,18})>")
# Between codes of a .csv file: ours, and those of a list as pandas writes it.
_BETWEEN_CODES = re.compile(r"[-,\[\]()\s]+")
# As Python writes whole numbers, so that nothing is lost ("007" stays text), and within int64.
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_WHOLE_CODE = re.compile(r"[0-9]{1,18}")
# Only after a file's ending, since "beauty-2" is a good name for a folder.
_SOURCE = re.compile(r"(?P<path>.+\.(?:json|npy|parquet|csv))(?P<offset>[+-][0-9]{1,18})", re.DOTALL)

# Item ids, codes not yet checked, titles.
_Content = tuple[np.ndarray, np.ndarray, pa.ChunkedArray | None]


def parse_id_source(text: str) -> tuple[Path, int]:
    """Reads a path that may be followed by what to add to the item ids: "letter.json+1" is (letter.json, 1).

    Only a .json, .npy, .parquet or .csv file can be so followed; a path that exists as it stands is taken as it stands.
    """
    found = _SOURCE.fullmatch(text)
    if found is None or as_path(text).exists():
        return Path(text), 0
    return Path(found["path"]), int(found["offset"])


def read_id_table(path: str | Path, offset: int = 0) -> IdTable:
    """Reads N items and their Semantic IDs.

    Args:
      path: a folder that `export.py` wrote; a .parquet file with the item ids in its first column, the Semantic IDs as
        lists in the column `semantic_id` and perhaps titles in the column `title`; a .csv file with the item ids in its
        first column and the Semantic IDs in the column `semantic_id`, as "12 4 91", or `sid`, as "12-4-91"; a .json
        file, `{item: [183, 70]}` or `{item: ["<a_183>", "<b_70>"]}` (items are numbers if all are whole numbers); or a
        .npy file of whole numbers `[N, L]` (items are row numbers; `[L, N]` of more than 256 items is turned, with a
        warning).
      offset: added to item ids that are whole numbers, as where a file counts items from 0 and a catalog from 1.

    Returns:
      The table, named after the file, or after the folder of an `ids.parquet`.

    Raises:
      UserError: if the file is missing, damaged or of another kind; if there are no items, or two of one id; if the IDs
        are not of one length, or a code is not from 0 to 2^31 - 1; if ids are text and there is an offset.
    """
    path, id_column = as_path(path), None
    if path.is_dir() and ((path / "manifest.json").exists() or (path / "ids.parquet").exists()):
        id_column, files = _exported_id_column(path), table_files(path)
        path = files[0] if files else path / "ids.parquet"
    else:
        files = _table_files(path)
        path = files[0]
    readers: dict[str, Callable[[], _Content]] = {
        ".parquet": lambda: _read_parquet(files, id_column),
        ".csv": lambda: _read_csv(files),
        ".json": lambda: _read_json(path),
        ".npy": lambda: _read_npy(path),
    }
    if path.suffix not in readers or not path.is_file():
        problem = f"unknown kind of file {path.suffix!r}" if path.is_file() else "no such file or folder"
        raise UserError(f"{path}: {problem}; give an export's folder, or a {', '.join(readers)} file")
    item_ids, codes, titles = readers[path.suffix]()
    _check_codes(codes, item_ids, path)
    if offset and item_ids.dtype.kind != "i":
        raise UserError(f"{path}: {offset:+d} cannot be added to ids that are text, such as {item_ids[0]!r}; leave it")
    item_ids = item_ids + offset if offset else item_ids
    check_unique(item_ids, str(path))
    folder = path.resolve().parent
    in_folder = folder.name == WHOLE_FILE
    several = path.name == WHOLE_FILE or in_folder or len(files) > 1
    name = (folder.parent if in_folder else folder).name if several else path.stem
    columns = None if titles is None else {"title": titles}
    return IdTable(item_ids, codes.astype(np.int32), columns=columns, name=name, shared=True, check=False)


def _table_files(path: Path) -> list[Path]:
    """Returns the file of a table, or the several of one kind that a folder, a pattern or commas name."""
    if path.is_file():
        return [path]
    several = path.is_dir() or bool(set("*?[,") & set(str(path)))
    files = find_files(str(path), (".parquet", ".csv")) if several else []
    if len({each.suffix for each in files}) > 1:
        raise UserError(f"{path}: has .parquet and .csv files; name those of one kind")
    return files or [path]


def _exported_id_column(folder: Path) -> str:
    schema = read_manifest(folder).get("schema")
    if not isinstance(schema, dict) or not isinstance(schema.get("id_column"), str):
        raise UserError(f"{folder / 'manifest.json'} does not say which column has the ids: export again")
    return schema["id_column"]


def _read_parquet(files: Sequence[Path], id_column: str | None) -> _Content:
    path = files[0]
    try:
        names = pq.read_schema(path).names
        id_column = id_column or (names or ["item_id"])[0]
        for name in (id_column, "semantic_id"):
            if names.count(name) != 1:
                raise UserError(f"{path}: has {names.count(name)} columns {name!r}; give one of an export")
        wanted = [name for name in names if name in (id_column, "semantic_id", "title")]
        table = pa.concat_tables(pq.ParquetFile(each).read(wanted) for each in files)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable .parquet file ({reason(error)}); write it anew") from error
    item_ids = ids_from_arrow(table[id_column], f"{path}: column {id_column!r}")
    codes = _codes_from_arrow(table["semantic_id"], item_ids, path)
    titles = table["title"] if names.count("title") == 1 else None
    if titles is not None and pa.types.is_dictionary(titles.type):
        titles = titles.cast(titles.type.value_type)
    return item_ids, codes, titles if titles is not None and is_text(titles.type) else None


def _codes_from_arrow(column: pa.ChunkedArray, item_ids: np.ndarray, path: Path) -> np.ndarray:
    kind, where = column.type, f"{path}: column 'semantic_id'"
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_integer(kind.value_type):
        raise UserError(f"{where}: expected lists of whole numbers, found {kind}")
    refuse_nulls(column, where)
    _check_lengths(pc.list_value_length(column).to_numpy(), item_ids, path)
    codes = pc.list_flatten(column)
    if codes.null_count:
        raise UserError(f"{where}: {codes.null_count} codes are null; give every item all its codes")
    return codes.to_numpy().reshape(len(item_ids), -1)


def _read_csv(files: Sequence[Path]) -> _Content:
    path, table = files[0], pa.concat_tables(map(_csv_columns, files))
    item_ids = _numbers_if_whole(table.column(0).to_pylist())
    codes = [_BETWEEN_CODES.sub(" ", text).split() for text in table.column(1).to_pylist()]
    for item, each in zip(item_ids.tolist(), codes, strict=True):
        if not all(map(_WHOLE_CODE.fullmatch, each)):
            raise UserError(f"{path}: item {item!r} has {shown(' '.join(each))}; write codes as 12 4 91 or 12-4-91")
    _check_lengths(np.array([len(each) for each in codes], np.int64), item_ids, path)
    return item_ids, np.array([list(map(int, each)) for each in codes], object), None


def _csv_columns(path: Path) -> pa.Table:
    """Returns the column of items and that of Semantic IDs, as text."""
    try:
        names = csv_names(path)
        name = next((name for name in ("semantic_id", "sid") if name in names[1:]), None)
        if name is None:
            raise UserError(f"{path}: no column 'semantic_id' or 'sid' after the first; its columns are {names}")
        table = pa_csv.read_csv(path, convert_options=as_text([names[0], name]))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable .csv file ({reason(error)}); write it anew") from error
    for column in (0, 1):
        refuse_nulls(table.column(column), f"{path}: column {table.column_names[column]!r}")
    return table.rename_columns(["item", "semantic_id"])


def _read_json(path: Path) -> _Content:
    try:
        # Objects as tuples of pairs: a dict would hide that an item is there twice.
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=tuple)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable .json file ({reason(error)}); write it anew") from error
    if not isinstance(content, tuple):
        raise UserError(f'{path}: expected one object, {{"item": [codes], ...}}, found {type(content).__name__}')
    for item, codes in content:
        if not isinstance(codes, list):
            raise UserError(f"{path}: item {item!r} has {shown(codes)}; give each item a list of codes")
    item_ids = _numbers_if_whole([item for item, _ in content])
    _check_lengths(np.array([len(codes) for _, codes in content], np.int64), item_ids, path)
    # Python's numbers, of whatever size, until they are checked.
    return item_ids, np.array([[_code(each, item, path) for each in codes] for item, codes in content], object), None


def _numbers_if_whole(items: list[str]) -> np.ndarray:
    whole = all(map(_WHOLE_NUMBER.fullmatch, items))
    return np.array([int(item) for item in items], np.int64) if whole else np.array(items, dtype=object)


def _code(value: Any, item: str, path: Path) -> int:
    if type(value) is int:
        return value
    token = _TOKEN.fullmatch(value) if isinstance(value, str) else None
    if token is None:
        raise UserError(f"{path}: item {item!r} has the code {shown(value)}; write 183, or text such as <a_183>")
    return int(token[1])


def _read_npy(path: Path) -> _Content:
    codes = open_npy(path)
    if codes.ndim != 2 or codes.dtype.kind not in "iu":
        raise UserError(f"{path}: expected whole numbers [N, L], found {codes.dtype} {list(codes.shape)}")
    if codes.shape[1] > _MOST_LEVELS >= len(codes):
        LOGGER.warning("%s: read as %d items of %d codes, on its side: [L, N], not [N, L]", path, *codes.shape[::-1])
        codes = codes.T
    item_ids = np.arange(len(codes), dtype=np.int64)
    _check_lengths(np.full(len(codes), codes.shape[1]), item_ids, path)
    return item_ids, codes, None


def _check_lengths(lengths: np.ndarray, item_ids: np.ndarray, path: Path) -> None:
    if not len(lengths):
        raise UserError(f"{path}: holds no items")
    uneven = np.flatnonzero(lengths != lengths[0])
    if len(uneven):
        one, other = item_ids[[0, uneven[0]]].tolist()
        raise UserError(
            f"{path}: item {one!r} has {lengths[0]} codes, but item {other!r} has {lengths[uneven[0]]}; mixed ID "
            "lengths break every fixed-length decoder: give all items the same number of codes"
        )
    if not 0 < lengths[0] <= _MOST_LEVELS:
        number = f"{lengths[0]:,}" if lengths[0] else "no"
        raise UserError(f"{path}: the Semantic IDs have {number} codes; give each item 1 to {_MOST_LEVELS} codes")


def _check_codes(codes: np.ndarray, item_ids: np.ndarray, path: Path) -> None:
    wrong = np.argwhere((codes < 0) | (codes > _LARGEST_CODE))
    if len(wrong):
        row, level = wrong[0]
        (item,) = item_ids[[row]].tolist()
        raise UserError(
            f"{path}: item {item!r} (row {row}, counted from 0) has the code {codes[row, level]}; codes are "
            f"whole numbers from 0 to {_LARGEST_CODE}"
        )
