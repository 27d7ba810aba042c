"""Reads an ID table from an export, from another tool's file, or from a plain array."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from sid_jax.data.id_lists import check_unique
from sid_jax.data.listing import find_files
from sid_jax.errors import UserError, listed
from sid_jax.export.artifact import WHOLE_FILE, table_files
from sid_jax.export.id_files import INFO, READABLE, kind_of, read_ids
from sid_jax.export.manifest import read_manifest
from sid_jax.ids.table import IdTable
from sid_jax.paths import as_path, bucket_address

_LARGEST_CODE = np.iinfo(np.int32).max
# Name patterns of the files of IDs in other tools' folders. The first two patterns are TorchEasyRec's.
_OF_TOOLS = (
    "item_to_sid", "*/item_to_sid", "*.index.json", "semantic_ids.pt", "semantic_ids.json", "item-sid-mapping.pt",
    "pid2sid.parquet", "*.item", "catalog.pt", "*.sem_ids", "rec_vocab.bin", "sid2vid.json", "static_index.npz",
)  # fmt: skip
# An offset is accepted only after a file ending, since "beauty-2" may be the name of a folder.
_SOURCE = re.compile(
    rf"(?P<path>.+\.(?:{'|'.join(each[1:] for each in (*READABLE, INFO))})(?:\.gz)?)(?P<offset>[+-][0-9]{{1,18}})",
    re.DOTALL,
)


def parse_id_source(text: str) -> tuple[Path, int]:
    """Parses a path with an optional offset of the item ids: "letter.json+1" is (letter.json, 1).

    Only a file name that ends in one of `READABLE` or `INFO`, with or without .gz after that, can have an offset. An
    existing path is not parsed.
    """
    found = _SOURCE.fullmatch(text)
    if not text:
        as_path(text)  # This call raises the error for an empty path; `Path("")` would be the working directory.
    if found is None or (bucket_address(text) is None and as_path(text).exists()):
        return Path(text), 0
    return Path(found["path"]), int(found["offset"])


def read_id_table(path: str | Path, offset: int = 0) -> IdTable:
    """Reads N items and their Semantic IDs.

    Args:
      path: one of the following:
        - a folder that `sid-jax export` wrote;
        - a .parquet file with item ids in the first column, Semantic IDs as lists in the column `semantic_id`, and
          optionally titles in the column `title`;
        - a .csv file with item ids in the first column, and Semantic IDs in the column `semantic_id`, as "12 4 91", or
          in the column `sid`, as "12-4-91";
        - a .json file, `{item: [183, 70]}` or `{item: ["<a_183>", "<b_70>"]}`. Item ids are integers if all keys are
          whole numbers;
        - a .npy file of whole numbers `[N, L]`. Item ids are row numbers. `[L, N]` with more than 256 items is
          transposed, with a warning;
        - a .pt file with a tensor `[L, N]` or `[N, L]`, where N is the longer axis;
        - a file that `sid_jax.formats` writes for another tool.
        A .csv, .json or .jsonl file may be gzipped. If the folder of the file has an `item_ids.parquet` or an
        `item_ids.txt`, its ids replace row numbers and item numbers; see `ids_of_rows` and `ids_of_numbers`.
      offset: added to integer item ids, for example if the file numbers items from 0 and the catalog from 1.

    Returns:
      The table, named after the file. A table in `ids.parquet` or in several files is named after its folder.

    Raises:
      UserError: if the file is missing, damaged or of unknown kind; if there are no items, or an id occurs twice; if
        IDs differ in length, or a code is not from 0 to 2^31 - 1; if an offset is given for ids that are text.
    """
    path, id_column = _of_tool(as_path(path)), None
    if is_export(path) or (path / "ids.parquet").exists():
        id_column, files = _exported_id_column(path), table_files(path)
        path = files[0] if files else path / "ids.parquet"
    else:
        files = _table_files(path)
        path = files[0]
    if not path.is_file() or not kind_of(path):
        problem = f"unknown kind of file {path.suffix!r}" if path.is_file() else "no such file or folder"
        raise UserError(f"{path}: {problem}; give the folder of an export, or a {', '.join(READABLE)} file")
    item_ids, codes, titles = read_ids(files, id_column)
    _check_codes(codes, item_ids, path)
    if offset and item_ids.dtype.kind != "i":
        raise UserError(
            f"{path}: cannot add {offset:+d} to ids that are text, such as {item_ids[0]!r}; remove the {offset:+d}"
        )
    item_ids = item_ids + offset if offset else item_ids
    check_unique(item_ids, str(path))
    folder = path.resolve().parent
    in_folder = folder.name == WHOLE_FILE
    several = path.name == WHOLE_FILE or in_folder or len(files) > 1
    name = (folder.parent if in_folder else folder).name if several else Path(path.name.removesuffix(".gz")).stem
    columns = None if titles is None else {"title": titles}
    return IdTable(item_ids, codes.astype(np.int32), columns=columns, name=name, shared=True, check=False)


def is_export(path: Path) -> bool:
    """Returns whether a path is an export. TorchEasyRec's bundles are not, although they have a `manifest.json`."""
    return (path / "manifest.json").is_file() and _of_tool(path) == path


def _of_tool(path: Path) -> Path:
    """Returns the file or folder of IDs inside a folder of another tool; returns any other path unchanged."""
    found = [each for pattern in _OF_TOOLS for each in sorted(path.glob(pattern))] if path.is_dir() else []
    if len(found) > 1:
        names = listed([str(each.relative_to(path)) for each in found])
        raise UserError(f"{path}: contains several tables of Semantic IDs, {names}; give one of them")
    return found[0] if found else path


def _table_files(path: Path) -> list[Path]:
    """Returns the files of a path: a file, a folder, a pattern or a comma-separated list. All files are of one kind."""
    if path.is_file():
        return [path]
    several = path.is_dir() or bool(set("*?[,") & set(str(path)))
    files = find_files(str(path), (".parquet", ".csv", ".csv.gz")) if several else []
    if len({kind_of(each) for each in files}) > 1:
        raise UserError(f"{path}: contains .parquet and .csv files; give files of one kind")
    return files or [path]


def _exported_id_column(folder: Path) -> str:
    schema = read_manifest(folder).get("schema")
    if not isinstance(schema, dict) or not isinstance(schema.get("id_column"), str):
        raise UserError(f"{folder / 'manifest.json'} does not name the column of ids; export again")
    return schema["id_column"]


def _check_codes(codes: np.ndarray, item_ids: np.ndarray, path: Path) -> None:
    wrong = np.argwhere((codes < 0) | (codes > _LARGEST_CODE))
    if len(wrong):
        row, level = wrong[0]
        (item,) = item_ids[[row]].tolist()
        raise UserError(
            f"{path}: item {item!r} (row {row}, counted from 0) has the code {codes[row, level]}; codes are "
            f"whole numbers from 0 to {_LARGEST_CODE}"
        )
