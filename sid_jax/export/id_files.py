"""Reads Semantic IDs from files of this package and of other tools. A file's name and content determine its format.

Files of arrays are read by `sid_jax.export.id_arrays`.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from sid_jax.data.arrow_columns import ids_from_arrow, plain, refuse_nulls
from sid_jax.data.csv_files import as_text, csv_format, csv_names, csv_source
from sid_jax.data.file_content import check_content, open_plain
from sid_jax.data.id_lists import numbers_if_whole
from sid_jax.data.json_records import read_records
from sid_jax.data.listing import ending
from sid_jax.data.numbered import ids_of_numbers
from sid_jax.data.parts.part import reading
from sid_jax.data.tables import read_columns
from sid_jax.errors import UserError, reason, shown
from sid_jax.export.id_arrays import Content, check_lengths, read_npy, read_npz, read_pt, read_xllm, without_offsets
from sid_jax.ids.convert import is_text

# LETTER (Wang et al., arXiv 2405.07314) and related tools write a code as a token whose letter names the level, <a_12>;
# OpenOneRec writes <s_a_12>, RecTokens <item_L0_C12>.
_TOKEN = re.compile(r"<(?:[A-Za-z]+_)+(?:L[0-9]+_C)?([0-9]{1,18})>")
_JOINED_TOKENS = re.compile(rf"(?:{_TOKEN.pattern})+")
# Separators between the codes of an ID that is text. This package writes such IDs as "12-4-91" or "12 4 91", and pandas
# writes a list as "[12, 4, 91]".
_BETWEEN_CODES = re.compile(r"[-,\[\]()\s]+")
_WHOLE_CODE = re.compile(r"[0-9]{1,18}")
# A hyphen that does not follow a digit is a minus sign.
_NEGATIVE = re.compile("(?<![0-9])-[0-9]")
# Columns of codes in .parquet files, in order of preference. `semantic_id` is in exports, `codebook` in TorchEasyRec's
# files, `sid` in OpenOneRec's files, and `codes` in predictions of these two tools.
_CODE_COLUMNS = ("semantic_id", "codebook", "codes", "sid")
# A key in FlashRec's files: codes joined by commas.
_JOINED = re.compile(r"[0-9]{1,18}(,[0-9]{1,18})+")
_GZIPPED = (".csv.gz", ".json.gz", ".jsonl.gz")
READABLE = (".parquet", ".csv", ".json", ".jsonl", ".npy", ".npz", ".pt", ".bin", ".item", ".sem_ids")
# MiniOneRec's info file, which is recognized by its content.
INFO = ".txt"
_STARTS = {b"PAR1": ".parquet", b"\x93NUM": ".npy", b"PK\x03\x04": ".pt", b"{": ".json", b"<": INFO}


def kind_of(path: Path) -> str:
    """Returns the kind of a file: `INFO`, one of the endings `READABLE`, or "" if unknown.

    The kind is the ending of the file's name, without .gz. The kind of a .sem_ids file is ".json". If the ending is not
    in `READABLE`, the first bytes determine the kind.
    """
    kind = ending(path, _GZIPPED).removesuffix(".gz")
    if kind == ".sem_ids":
        return ".json"
    if kind in READABLE:
        return kind
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError:
        return ""
    return _STARTS.get(start) or _STARTS.get(start[:1], "")


def read_ids(files: Sequence[Path], id_column: str | None = None) -> Content:
    """Reads items and their codes from files of one kind; see `sid_jax.export.id_tables.read_id_table`.

    Args:
      files: one file, or several .parquet or .csv files, which are concatenated.
      id_column: id column of .parquet files; None for the first column.
    """
    path = files[0]
    for file in files:
        # If the ending is known, the content must match it. For any other ending, `kind_of` finds the file's kind from
        # its first bytes.
        if ending(file, _GZIPPED) in (*READABLE, *_GZIPPED):
            check_content(file)
    readers: dict[str, Callable[[], Content]] = {
        ".parquet": lambda: _read_parquet(files, id_column),
        ".csv": lambda: _read_csv(files),
        ".json": lambda: _read_json(path),
        ".jsonl": lambda: _read_jsonl(path),
        ".npy": lambda: read_npy(path),
        ".npz": lambda: read_npz(path),
        ".pt": lambda: read_pt(path),
        ".bin": lambda: read_xllm(path),
        ".item": lambda: _read_item(path),
        INFO: lambda: _read_info(path),
    }
    return readers[kind_of(path)]()


def _read_parquet(files: Sequence[Path], id_column: str | None) -> Content:
    path = files[0]
    try:
        schema = pq.read_schema(path)
        names = schema.names
        exported, id_column = id_column is not None, id_column or (names or ["item_id"])[0]
        lists = (
            name for name in _CODE_COLUMNS if names.count(name) == 1 and pa.types.is_nested(schema.field(name).type)
        )
        text = "sid" if "sid" in names else "semantic_id"
        code_column = "semantic_id" if "semantic_id" in names else next(lists, text)
        for name in (id_column, code_column):
            if names.count(name) != 1:
                raise UserError(
                    f"{path}: {names.count(name)} columns have the name {name!r}; give a file with one such column"
                )
        wanted = [name for name in names if name in (id_column, code_column, "title")]
        table = pa.concat_tables(pq.ParquetFile(each).read(wanted) for each in files)
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise UserError(f"{path}: not a readable .parquet file ({reason(error)}); write the file again") from error
    item_ids = ids_from_arrow(table[id_column], f"{path}: column {id_column!r}")
    codes = _codes_from_arrow(table[code_column], item_ids, f"{path}: column {code_column!r}", path)
    titles = table["title"] if names.count("title") == 1 else None
    if titles is not None and pa.types.is_dictionary(titles.type):
        titles = titles.cast(titles.type.value_type)
    item_ids = item_ids if exported else ids_of_numbers(path, item_ids)
    return item_ids, codes, titles if titles is not None and is_text(titles.type) else None


def _codes_from_arrow(column: pa.ChunkedArray, item_ids: np.ndarray, where: str, path: Path) -> np.ndarray:
    column = plain(column)
    kind = column.type
    if is_text(kind):
        refuse_nulls(column, where)
        return _codes_of_texts(column.to_pylist(), item_ids, path)
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_integer(kind.value_type):
        raise UserError(f"{where}: expected lists of whole numbers, or text such as 12-4-91, found {kind}")
    refuse_nulls(column, where)
    check_lengths(pc.list_value_length(column).to_numpy(), item_ids, path)
    codes = pc.list_flatten(column)
    if codes.null_count:
        raise UserError(f"{where}: {codes.null_count} codes are null; give all codes of every item")
    return codes.to_numpy().reshape(len(item_ids), -1)


def _read_csv(files: Sequence[Path]) -> Content:
    path, table = files[0], pa.concat_tables(map(_csv_columns, files))
    item_ids = numbers_if_whole(table.column(0).to_pylist())
    return item_ids, _codes_of_texts(table.column(1).to_pylist(), item_ids, path), None


def _codes_of_texts(texts: list[str], item_ids: np.ndarray, path: Path) -> np.ndarray:
    """Returns the codes `[N, L]` of texts such as "12 4 91", "12-4-91" or "[12, 4, 91]", as Python integers."""
    codes = [_BETWEEN_CODES.sub(" ", text).split() for text in texts]
    for item, text, each in zip(item_ids.tolist(), texts, codes, strict=True):
        if _NEGATIVE.search(text) or not all(map(_WHOLE_CODE.fullmatch, each)):
            raise UserError(f"{path}: item {item!r} has {shown(text)}; write codes as 12 4 91 or 12-4-91")
    check_lengths(np.array([len(each) for each in codes], np.int64), item_ids, path)
    return np.array([list(map(int, each)) for each in codes], object)


def _csv_columns(path: Path) -> pa.Table:
    """Returns the columns of items and Semantic IDs, as text."""
    try:
        form = csv_format(path)
        names = csv_names(path, form)
        name = next((name for name in ("semantic_id", "sid") if name in names[1:]), None)
        if name is None:
            raise UserError(
                f"{path}: no column after the first is 'semantic_id' or 'sid' (columns: {names}); rename the column of "
                "Semantic IDs"
            )
        with csv_source(path) as source:
            table = pa_csv.read_csv(source, parse_options=form, convert_options=as_text([names[0], name]))
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise UserError(f"{path}: not a readable .csv file ({reason(error)}); write the file again") from error
    for column in (0, 1):
        refuse_nulls(table.column(column), f"{path}: column {table.column_names[column]!r}")
    return table.rename_columns(["item", "semantic_id"])


def _read_json(path: Path) -> Content:
    try:
        # Objects are read as tuples of pairs, since a dict would hide duplicate items.
        with open_plain(path) as file:
            content = json.loads(file.read().decode("utf-8-sig"), object_pairs_hook=tuple)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable .json file ({reason(error)}); write the file again") from error
    if not isinstance(content, tuple):
        raise UserError(f'{path}: expected one object, {{"item": [codes], ...}}, found {type(content).__name__}')
    for item, codes in content:
        if not isinstance(codes, list):
            raise UserError(f"{path}: item {item!r} has {shown(codes)}; give each item a list of codes")
    if content and all(_JOINED.fullmatch(key) and each and _is_named(each[0]) for key, each in content):
        return _of_keys(path, content)
    item_ids = numbers_if_whole([item for item, _ in content])
    check_lengths(np.array([len(codes) for _, codes in content], np.int64), item_ids, path)
    # Codes stay Python integers of any size until they are checked.
    codes = np.array([[_code(each, item, path) for each in codes] for item, codes in content], object)
    return ids_of_numbers(path, item_ids), codes, None


def _is_named(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and value[0][0] == "pid"


def _of_keys(path: Path, content: tuple[tuple[str, list[Any]], ...]) -> Content:
    """Reads FlashRec's files, `{"12,4,91": [{"pid": item}, ...]}`."""
    if not all(map(_is_named, (each for _, items in content for each in items))):
        raise UserError(f'{path}: expected lists of {{"pid": item}} under each Semantic ID')
    item_ids = _plain_ids([each[0][1] for _, items in content for each in items], path)
    codes = [list(map(int, key.split(","))) for key, items in content for _ in items]
    check_lengths(np.array(list(map(len, codes)), np.int64), item_ids, path)
    return item_ids, np.array(codes, object), None


def _plain_ids(ids: list[Any], path: Path) -> np.ndarray:
    if not ids or all(type(item) is str for item in ids):
        return np.array(ids, object)
    if all(type(item) is int and abs(item) < 2**63 for item in ids):
        return np.array(ids, np.int64)
    raise UserError(f"{path}: item ids must be all text, or all whole numbers of 64 bits; give ids of one type")


def _read_jsonl(path: Path) -> Content:
    """Reads the catalog of NVIDIA recsys-examples, with one object `{"item_id": ..., "token_ids": [...]}` per line."""
    records = [record for _, record in read_records(path)]
    for number, record in enumerate(records, 1):
        tokens = record.get("token_ids")
        if "item_id" not in record or not isinstance(tokens, list) or not all(type(each) is int for each in tokens):
            raise UserError(
                f'{path}: record {number} is not of the form {{"item_id": ..., "token_ids": [numbers]}}; write the '
                "file again"
            )
    item_ids = _plain_ids([record["item_id"] for record in records], path)
    check_lengths(np.array([len(record["token_ids"]) for record in records], np.int64), item_ids, path)
    return item_ids, without_offsets(path, np.array([record["token_ids"] for record in records], object)), None


def _read_item(path: Path) -> Content:
    """Reads RecBole's file of items, whose column `sid:token_seq` has the items' tokens."""
    table = read_columns(path, ["item_id", "sid"])
    item_ids = numbers_if_whole(table["item_id"].to_pylist())
    tokens = [each or [] for each in table["sid"].to_pylist()]
    check_lengths(np.array(list(map(len, tokens)), np.int64), item_ids, path)
    codes = [[_code(each, item, path) for each in row] for item, row in zip(item_ids.tolist(), tokens, strict=True)]
    return item_ids, np.array(codes, object), None


def _read_info(path: Path) -> Content:
    """Reads MiniOneRec's info file, with an item's tokens, title and number per line, separated by tabs."""
    with reading(path, path.suffix):
        rows = [line.rstrip("\r\n").split("\t") for line in path.open(encoding="utf-8-sig", newline="\n")]
    for number, row in enumerate(rows, 1):
        if len(row) < 3 or not _JOINED_TOKENS.fullmatch(row[0]) or not _WHOLE_CODE.fullmatch(row[-1]):
            raise UserError(
                f"{path}: line {number} is not an item's tokens (such as <a_1><b_2><c_3>), title and number, separated "
                "by tabs; give a file that has IDs"
            )
    numbers = np.array([int(row[-1]) for row in rows], np.int64)
    codes = [list(map(int, _TOKEN.findall(row[0]))) for row in rows]
    check_lengths(np.array(list(map(len, codes)), np.int64), numbers, path)
    titles = pa.chunked_array([pa.array(["\t".join(row[1:-1]) for row in rows], pa.string())])
    return ids_of_numbers(path, numbers), np.array(codes, object), titles


def _code(value: Any, item: str, path: Path) -> int:
    if type(value) is int:
        return value
    token = _TOKEN.fullmatch(value) if isinstance(value, str) else None
    if token is None:
        raise UserError(
            f"{path}: item {item!r} has the code {shown(value)}; write a number such as 183, or text such as <a_183>"
        )
    return int(token[1])
