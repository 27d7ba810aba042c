"""Files of vectors of any length, as parts that are read one block after another: memory does not grow with N."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.data.arrow_columns import FLOAT_TYPES, as_float32, plain_ids, vectors_from_arrow
from sid_jax.data.npy_file import open_npy, read_rows
from sid_jax.data.reason import reason
from sid_jax.errors import UserError

# Rows of a part, but that a row group of a parquet file is not divided.
_ROWS_A_PART = 2**18
_SUFFIXES = (".npy", ".parquet")


@dataclasses.dataclass(frozen=True)
class Part:
    """Some rows of a file, one after another.

    Attributes:
      path: the file.
      first_row: in the file.
      num_rows: how many.
      first_item: how many rows come before it in all files.
      row_groups: of a parquet file, from and to (not included).
      ids_path: of a .npy file, the text file with its ids; empty if ids are row numbers.
      ids_offset: where the first one begins, in bytes.
    """

    path: str
    first_row: int
    num_rows: int
    first_item: int
    row_groups: tuple[int, int] = (0, 0)
    ids_path: str = ""
    ids_offset: int = 0

    @property
    def where(self) -> str:
        """What an error calls it."""
        return f"{self.path}: rows {self.first_row} to {self.first_row + self.num_rows - 1}"


@dataclasses.dataclass(frozen=True)
class VectorParts:
    """All parts, and how they are read.

    Attributes:
      parts: in the order of the rows.
      num_features: D.
      id_column, vector_column: of parquet files.
    """

    parts: tuple[Part, ...]
    num_features: int
    id_column: str
    vector_column: str

    @property
    def num_items(self) -> int:
        """N."""
        return sum(part.num_rows for part in self.parts)

    @property
    def ids_are_row_numbers(self) -> bool:
        """Whether ids are the numbers of the rows, counted over all files."""
        return all(part.path.endswith(".npy") and not part.ids_path for part in self.parts)

    def blocks(self, number: int, rows: int) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Yields ids `[n]`, int64 or string, and vectors `[n, D]` float32 of a part, so many rows at a time.

        Raises:
          UserError: if the file cannot be read, or an id is null.
        """
        part = self.parts[number]
        return self._npy_blocks(part, rows) if part.path.endswith(".npy") else self._parquet_blocks(part, rows)

    def rows(self, number: int, wanted: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yields the vectors `[n, D]` float32 of some rows of a part, which are counted from its first and sorted.

        At most `rows` come at a time.
        """
        part = self.parts[number]
        if part.path.endswith(".npy"):
            path, array = Path(part.path), open_npy(Path(part.path))
            for first in range(0, len(wanted), rows):
                chosen = part.first_row + wanted[first : first + rows]
                yield as_float32(read_rows(path, array.offset, chosen, array.dtype, array.shape[1]))
            return
        start = 0
        for _, vectors in self._parquet_blocks(part, rows):
            first, end = np.searchsorted(wanted, [start, start + len(vectors)])
            if end > first:
                yield vectors[wanted[first:end] - start]
            start += len(vectors)

    def _npy_blocks(self, part: Part, rows: int) -> Iterator[tuple[pa.Array, np.ndarray]]:
        lines = _lines(part) if part.ids_path else None
        array = open_npy(Path(part.path))
        with Path(part.path).open("rb") as file:
            # Not from the map, for the reason that `read_rows` has.
            file.seek(array.offset + part.first_row * array.strides[0])
            for start in range(0, part.num_rows, rows):
                count = min(rows, part.num_rows - start)
                vectors = np.fromfile(file, array.dtype, count * array.shape[1]).reshape(count, -1)
                numbers = np.arange(count) + part.first_item + start
                ids = pa.array(list(itertools.islice(lines, count)), pa.string()) if lines else pa.array(numbers)
                yield ids, as_float32(vectors)

    def _parquet_blocks(self, part: Part, rows: int) -> Iterator[tuple[pa.Array, np.ndarray]]:
        start = part.first_row
        try:
            # Page by page, since a row group may be large.
            with pq.ParquetFile(part.path, buffer_size=2**20, pre_buffer=False) as file:
                groups, columns = list(range(*part.row_groups)), [self.id_column, self.vector_column]
                for batch in file.iter_batches(rows, row_groups=groups, columns=columns, use_threads=False):
                    table = pa.Table.from_batches([batch])
                    ids = plain_ids(
                        table[self.id_column], f"{part.path}: column {self.id_column!r}", first_row=start
                    ).combine_chunks()
                    where = f"{part.path}: column {self.vector_column!r}"
                    yield ids, vectors_from_arrow(table[self.vector_column], where, first_row=start)
                    start += len(batch)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{part.path}: not a readable .parquet file ({reason(error)}); write it anew") from error


def list_parts(
    inputs: Sequence[str],
    *,
    id_column: str = "item_id",
    vector_column: str = "vector",
    ids_paths: Sequence[str] = (),
    rows: int = _ROWS_A_PART,
) -> VectorParts:
    """Looks at the files, without reading them, and cuts them into parts.

    Args:
      inputs: .npy and .parquet files, folders of them, or patterns such as "items/*.parquet"; each folder's and
        pattern's files in the order of their names.
      id_column, vector_column: of parquet files.
      ids_paths: for .npy files, a text file each, with one id a line; none if ids are row numbers.
      rows: of a part, but that no row group of a parquet file is divided.

    Raises:
      UserError: if there is no such file, or one is not of vectors as long as those of the first one.
    """
    files = [path for each in inputs for path in _files(each)]
    arrays = [path for path in files if path.suffix == ".npy"]
    if ids_paths and len(ids_paths) != len(arrays):
        raise UserError(f"there are {len(ids_paths)} files of ids for {len(arrays)} .npy files; give one for each")
    ids_of = dict(zip(arrays, map(str, ids_paths), strict=False))
    parts: list[Part] = []
    features: dict[int, Path] = {}
    for path in files:
        first_item = sum(part.num_rows for part in parts)
        if path.suffix == ".npy":
            found, size = _npy_parts(path, first_item, ids_of.get(path, ""), rows)
        else:
            found, size = _parquet_parts(path, first_item, (id_column, vector_column), rows)
        parts += found
        if found:
            features.setdefault(size, path)
    if len(features) > 1:
        (one, first), (other, second) = list(features.items())[:2]
        raise UserError(f"{second}: vectors have {other} features, but those of {first} have {one}")
    if not parts:
        raise UserError(f"{inputs[0]}: holds no rows")
    return VectorParts(tuple(parts), next(iter(features)), id_column, vector_column)


def _files(text: str) -> list[Path]:
    path = Path(text).expanduser()
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES)
    else:
        found = [path] if path.exists() else sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if not found:
        raise UserError(f"{text}: no such file; give {' or '.join(_SUFFIXES)} files, or a folder of them")
    for each in found:
        if each.suffix not in _SUFFIXES:
            raise UserError(f"{each}: unknown kind of file {each.suffix!r}; give one of {', '.join(_SUFFIXES)}")
    return found


def _npy_parts(path: Path, first_item: int, ids_path: str, rows: int) -> tuple[list[Part], int]:
    array = open_npy(path)
    if array.ndim != 2 or array.dtype.kind != "f" or array.dtype.itemsize > 8 or not array.shape[1]:
        raise UserError(
            f"{path}: expected {FLOAT_TYPES} vectors [N, D], found {array.dtype} {list(array.shape)}; save it anew"
        )
    if not array.flags.c_contiguous:
        raise UserError(f"{path}: lies column by column; save it anew by np.save(path, np.ascontiguousarray(array))")
    starts = range(0, len(array), rows)
    offsets = _line_offsets(Path(ids_path), starts, len(array), path) if ids_path else [0] * len(starts)
    parts = [
        Part(str(path), start, min(rows, len(array) - start), first_item + start, (0, 0), ids_path, offset)
        for start, offset in zip(starts, offsets, strict=True)
    ]
    return parts, array.shape[1]


def _parquet_parts(path: Path, first_item: int, columns: tuple[str, str], rows: int) -> tuple[list[Part], int]:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for setting, name in zip(("id_column", "vector_column"), columns, strict=True):
                if name not in names:
                    raise UserError(
                        f"{path}: no column {name!r}, which the run's config.data.{setting} names; its columns are "
                        f"{', '.join(names)}"
                    )
            counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            head = next(file.iter_batches(1, columns=[columns[1]]), None)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable .parquet file ({reason(error)}); write it anew") from error
    if head is None:
        return [], 0
    vectors = vectors_from_arrow(pa.chunked_array([head.column(0)]), f"{path}: column {columns[1]!r}")
    parts, group, row = [], 0, 0
    while group < len(counts):
        end, count = group + 1, counts[group]
        while end < len(counts) and count + counts[end] <= rows:
            count += counts[end]
            end += 1
        parts.append(Part(str(path), row, count, first_item + row, (group, end)))
        group, row = end, row + count
    return [part for part in parts if part.num_rows], vectors.shape[1]


def _line_offsets(ids_path: Path, starts: Sequence[int], num_rows: int, path: Path) -> list[int]:
    """Returns where in a file of ids the lines with these numbers begin."""
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


def _lines(part: Part) -> Iterator[str]:
    with Path(part.ids_path).open("rb") as file:
        file.seek(part.ids_offset)
        for line in itertools.islice(file, part.num_rows):
            try:
                yield line.decode("utf-8-sig" if not part.ids_offset else "utf-8").rstrip("\n")
            except UnicodeDecodeError as error:
                raise UserError(f"{part.ids_path}: is not UTF-8 text ({reason(error)})") from error
