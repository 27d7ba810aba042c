"""Reads a user's own vectors, from any number of files of any kind; bad rows are rejected, dropped or listed.

A bad row has NaN or infinite values; a row of only NaN may be valid, see `VectorParts`. A part of a file is a range of
its rows, see `sid_jax.data.parts`.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import itertools
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from sid_jax.cache import cache_folder
from sid_jax.data.arrow_columns import ids_as_array
from sid_jax.data.blocks import bad_value, count_of_bad, in_blocks, no_vector, not_finite, remedy_of_bad
from sid_jax.data.id_lists import check_unique
from sid_jax.data.parts.arrays import open_npy
from sid_jax.data.parts.part import identity
from sid_jax.data.parts.vector_parts import VectorParts, list_parts
from sid_jax.data.vector_set import LeftOut, VectorSet
from sid_jax.errors import UserError, shown
from sid_jax.paths import bucket_address
from sid_jax.wording import counted

_ROWS_A_BLOCK = 8192
_MOST_NAMED = 5
# The option that drops bad rows in commands with a config.
BAD_ROWS_OPTION = "--config.data.on_bad_rows=drop"


@dataclasses.dataclass(frozen=True)
class _BadRow:
    part: int
    place: int  # Row number in the part of the file.
    path: str
    row: int  # Row number in the file.
    item_id: object
    vector: np.ndarray

    def __str__(self) -> str:
        return f"{self.path}: {bad_value(self.vector, self.row, self.item_id)}"


def treat_bad_rows(
    parts: VectorParts, how: str, *, allow_empty: bool = False, option: str = BAD_ROWS_OPTION
) -> tuple[VectorParts, LeftOut]:
    """Drops bad rows, lists them, or leaves them in place for the reader of the rows to reject.

    Args:
      parts: the parts (ranges of rows) of the files.
      how: "error" returns the parts unchanged. The reader of the rows then calls `refuse_bad_rows` when it finds a bad
        row, so that no row is read twice if all are good. "drop" reads all rows, and returns the parts without bad
        rows. "report" reads all rows, prints bad rows as CSV, and raises UserError if there are any.
      allow_empty: whether the result may have no rows.
      option: the option that drops bad rows, for error messages.

    Raises:
      UserError: if there are bad rows and `how` is "report"; if `how` is "drop", all rows are bad and `allow_empty` is
        False; or if a row cannot be read.
    """
    if how == "drop":
        return _without(parts, allow_empty)
    if how == "report":
        _report(parts, option)
    return parts, LeftOut()


def refuse_bad_rows(parts: VectorParts, option: str = BAD_ROWS_OPTION) -> None:
    """If there are bad rows, raises UserError with the first one, their number and the option that drops them."""
    found = _bad_rows(parts)
    first = next(found, None)
    if first is not None:
        count = 1 + sum(1 for _ in found)
        raise UserError(f"{first}; {count_of_bad(count, parts.num_rows)}: {remedy_of_bad(option)}")


def _bad_rows(parts: VectorParts) -> Iterator[_BadRow]:
    for number, part in enumerate(parts.parts):
        for first, ids, vectors in parts.all_rows(number, _ROWS_A_BLOCK):
            for row in _bad_in_block(parts, vectors).tolist():
                place = first + row
                yield _BadRow(number, place, part.path, part.first_row + place, ids[row].as_py(), vectors[row])


def _bad_in_block(parts: VectorParts, vectors: np.ndarray) -> np.ndarray:
    """Returns the numbers of the bad rows of `[n, D]`."""
    bad = not_finite(vectors, parts.layout)
    return bad[~np.isnan(vectors[bad]).all(axis=1)] if parts.nan_rows else bad


def _without(parts: VectorParts, allow_empty: bool) -> tuple[VectorParts, LeftOut]:
    left_out: list[list[int]] = [[] for _ in parts.parts]
    first: list[str] = []
    for bad in _bad_rows(parts):
        left_out[bad.part].append(bad.place)
        if len(first) < _MOST_NAMED:
            first.append(f"{bad.path} row {bad.row} (id {shown(bad.item_id)})")
    kept = tuple(
        dataclasses.replace(part, left_out=tuple(rows))
        for part, rows in zip(parts.parts, left_out, strict=True)
        if len(rows) < part.num_rows
    )
    if not kept and not allow_empty:
        others = len(parts.parts) - 1
        files = f"{parts.parts[0].path}" + (f" and {counted(others, 'other file')}" if others else "")
        raise UserError(f"{files}: all {parts.num_rows} rows hold NaN or infinite values; correct them")
    rows = [part.first_item + place for part, places in zip(parts.parts, left_out, strict=True) for place in places]
    return dataclasses.replace(parts, parts=kept), LeftOut(tuple(rows), parts.num_rows, tuple(first))


def _report(parts: VectorParts, option: str) -> None:
    found = _bad_rows(parts)
    first = next(found, None)
    if first is None:
        return
    writer, count = csv.writer(sys.stdout), 0
    writer.writerow(["file", "row", "id", "columns", "first_column", "value"])
    for bad in itertools.chain([first], found):
        count += 1
        columns = np.flatnonzero(~np.isfinite(bad.vector))
        value = no_vector(bad.vector) or bad.vector[columns[0]]
        writer.writerow([bad.path, bad.row, bad.item_id, len(columns), columns[0], value])
    raise UserError(f"{count_of_bad(count, parts.num_rows)} (listed on standard output): {remedy_of_bad(option)}")


def read_vector_files(
    path: str,
    *,
    id_column: str = "item_id",
    vector_column: str = "vector",
    ids_paths: Sequence[str] = (),
    on_bad_rows: str = "error",
    resident_bytes: int | None = None,
    cache_dir: str = "",
    nan_rows: bool = False,
    option: str = BAD_ROWS_OPTION,
) -> VectorSet:
    """Reads N items and their vectors.

    If no rows are dropped, a single .npy or .pt file of contiguous float32 stays memory-mapped, and its vectors are
    read when they are used. Other vectors that are larger than `resident_bytes` are written once to a .npy file, which
    allows random access. This file is in the cache's folder `vectors`, and later calls with the same input files reuse
    it.

    Args:
      path: files with one of the `VECTOR_ENDINGS`, folders or patterns, separated by commas; see `list_parts`.
      id_column, vector_column, ids_paths: see `list_parts`.
      on_bad_rows, option: see `treat_bad_rows`.
      resident_bytes: maximum number of bytes of vectors in memory; None for no limit.
      cache_dir: see `cache_folder`.
      nan_rows: see `VectorParts`. If True, all vectors are read into memory, whatever their size.

    Raises:
      UserError: if a file is missing, damaged or of the wrong kind, an id occurs twice, or a value is not finite.
    """
    parts = list_parts([path], id_column=id_column, vector_column=vector_column, ids_paths=ids_paths)
    parts, left_out = treat_bad_rows(dataclasses.replace(parts, nan_rows=nan_rows), on_bad_rows, option=option)
    vectors = None if nan_rows else parts.mapped()
    if vectors is not None:
        if any(len(not_finite(block)) for _, block in in_blocks(vectors)):
            refuse_bad_rows(parts, option)
        ids = _ids(parts)
    elif nan_rows or resident_bytes is None or _size_in_memory(parts) <= resident_bytes:
        vectors, ids = _read(parts, option)
    else:
        file = cache_folder(cache_dir) / "vectors" / f"{_name(parts)}.npy"
        ids = _ids(parts) if file.exists() else _write(parts, file, option)
        vectors = np.asarray(open_npy(file))
    check_unique(ids, f"{path}, without the dropped rows" if left_out.num_rows else path)
    return VectorSet(ids=ids, vectors=vectors, source=path, left_out=left_out)


def _size_in_memory(parts: VectorParts) -> int:
    """Returns the size in bytes of all vectors as float32."""
    return 4 * parts.num_items * parts.num_features


def _read(parts: VectorParts, option: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        vectors = np.empty((parts.num_items, parts.num_features), np.float32)
    except (MemoryError, ValueError) as error:
        raise UserError(
            f"{parts.parts[0].path}: {parts.num_items} vectors of {parts.num_features} features do not fit into "
            "memory; set a smaller --config.train.resident_bytes, above which vectors stay in a file"
        ) from error
    found, row = [], 0
    for ids, block in _checked(parts, option):
        vectors[row : row + len(block)] = block
        found.append(ids)
        row += len(block)
    return vectors, _joined(found)


def _write(parts: VectorParts, path: Path, option: str) -> np.ndarray:
    """Writes the file of vectors, atomically, and returns the ids."""
    # The temporary name is unique, since several processes of one run may write at the same time.
    found, partial = [], path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (parts.num_items, parts.num_features)}
            np.lib.format.write_array_header_1_0(file, header)
            for ids, block in _checked(parts, option):
                file.write(np.ascontiguousarray(block, "<f4").data)
                found.append(ids)
        partial.rename(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot write {_size_in_memory(parts) / 1e9:.1f} GB of vectors ({error.strerror}); vectors larger "
            "than config.train.resident_bytes are cached in this file, so free some space, or set another "
            "--config.data.cache_dir"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return _joined(found)


def _ids(parts: VectorParts) -> np.ndarray:
    if parts.ids_are_row_numbers and parts.consecutive:
        return np.arange(parts.num_items)
    return _joined([ids for number in range(len(parts.parts)) for ids in parts.ids(number, _ROWS_A_BLOCK)])


def _checked(parts: VectorParts, option: str) -> Iterator[tuple[pa.Array, np.ndarray]]:
    for number in range(len(parts.parts)):
        for ids, vectors in parts.blocks(number, _ROWS_A_BLOCK):
            if len(_bad_in_block(parts, vectors)):
                refuse_bad_rows(parts, option)
            yield ids, vectors


def _joined(found: list[pa.Array]) -> np.ndarray:
    kinds = sorted({str(each.type) for each in found})
    if len(kinds) > 1:
        raise UserError(f"some files have ids of type {kinds[0]}, others of type {kinds[1]}; give ids of one type")
    return ids_as_array(pa.chunked_array(found))


def _real(path: str) -> str:
    return path if bucket_address(path) else str(Path(path).resolve())


def _name(parts: VectorParts) -> str:
    """Returns the cached file's name, which changes if an input file changes or other rows are dropped."""
    about = [identity(path) for path in dict.fromkeys(_real(part.path) for part in parts.parts)]
    left_out = [[part.first_item, *part.left_out] for part in parts.parts if part.left_out]
    content = [about, parts.columns.vector_column, *([left_out] if left_out else [])]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
