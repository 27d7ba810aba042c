"""Splits vector files into parts (ranges of rows), and reads a part block by block, so that memory stays limited."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from sid_jax.buckets.place import File, RemoteFile
from sid_jax.data.layout import Layout
from sid_jax.data.listing import ending, find_ids_files, find_remote_files
from sid_jax.data.parts.arrays import ArrayRecords, Npy, Npz, Safetensors, TorchTensor
from sid_jax.data.parts.files import IdReader, id_offsets
from sid_jax.data.parts.part import Columns, Kind, Look, Part
from sid_jax.data.parts.tables import Arrow, Parquet
from sid_jax.errors import UserError
from sid_jax.wording import counted

# Maximum number of rows of a part. Only a part that is a row group of a Parquet file may have more rows, since row
# groups are not split.
_ROWS_A_PART = 2**18
_KINDS: dict[str, Kind] = {
    ".npy": Npy(),
    ".npz": Npz(),
    ".parquet": Parquet(),
    ".arrow": Arrow(),
    ".feather": Arrow(),
    ".safetensors": Safetensors(),
    ".array_record": ArrayRecords(),
    ".pt": TorchTensor(),
}
# Endings of files of vectors.
VECTOR_ENDINGS = tuple(_KINDS)


@dataclasses.dataclass(frozen=True)
class VectorParts:
    """All parts of the given files, and how they are read.

    Attributes:
      parts: the parts, in the order of the rows.
      num_features: D.
      columns: names of columns, for files that have them.
      ids_are_row_numbers: whether ids are row numbers, counted over all files.
      layout: layout of vectors that consist of item parts, such as text and image; None for other vectors.
      nan_rows: whether a row of only NaN is valid. In a file of one item part, such a row marks an item that lacks the
        part.
    """

    parts: tuple[Part, ...]
    num_features: int
    columns: Columns
    ids_are_row_numbers: bool
    layout: Layout | None = None
    nan_rows: bool = False

    @property
    def num_rows(self) -> int:
        """The number of rows of all files."""
        return sum(part.num_rows for part in self.parts)

    @property
    def num_items(self) -> int:
        """N, the number of rows that are not dropped."""
        return self.num_rows - sum(len(part.left_out) for part in self.parts)

    @property
    def consecutive(self) -> bool:
        """Whether the items are rows 0 to N - 1 of all files together.

        This is the case if no row is dropped, and no part is missing except at the end of the files.
        """
        starts = itertools.accumulate((part.num_rows for part in self.parts), initial=0)
        gapless = all(part.first_item == start for part, start in zip(self.parts, starts, strict=False))
        return gapless and self.num_items == self.num_rows

    def under(self, layout: Layout) -> VectorParts:
        """Returns the same rows, whose vectors now consist of the item parts of `layout`, such as text and image.

        The vectors in the files must have all item parts, or only the first.

        Raises:
          UserError: if the vectors match neither all item parts together nor the first one.
        """
        first, wanted = layout.parts[0], layout.num_features
        if self.num_features not in (first.num_features, wanted):
            raise UserError(
                f"{self.parts[0].path}: vectors have {self.num_features} features; give the {wanted} features "
                f"of all parts ({', '.join(layout.names)}) concatenated, or only the {first.num_features} features of "
                f"{first.name!r}"
            )
        return dataclasses.replace(self, layout=layout)

    def _filled(self, vectors: np.ndarray) -> np.ndarray:
        """Returns vectors padded with NaN for the item parts of the layout that the file does not have."""
        width = vectors.shape[1] if self.layout is None else self.layout.num_features
        missing = [(0, 0), (0, width - vectors.shape[1])]
        return np.pad(vectors, missing, constant_values=np.nan) if width > vectors.shape[1] else vectors

    def blocks(self, number: int, rows: int) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Yields ids `[n]`, int64 or string, and vectors `[n, D]` float32 of a part, at most `rows` rows at a time.

        A null vector is yielded as a row of NaN.

        Raises:
          UserError: if the file cannot be read or has changed, or an id is null.
        """
        part = self.parts[number]
        for first, ids, vectors in self.all_rows(number, rows):
            if part.left_out:
                kept = _kept(part, first, len(vectors))
                ids, vectors = ids.take(pa.array(kept)), vectors[kept]
            if len(vectors):
                yield ids, vectors

    def ids(self, number: int, rows: int) -> Iterator[pa.Array]:
        """Yields only the ids of `blocks`; vectors are not read if the ids are in a separate file."""
        part = self.parts[number]
        if not part.ids_path:
            yield from (ids for ids, _ in self.blocks(number, rows))
            return
        ids_file = IdReader(part.ids_path, part.ids_offset, part.first_row)
        for first in range(0, part.num_rows, rows):
            ids = ids_file.read(min(rows, part.num_rows - first))
            yield ids.take(pa.array(_kept(part, first, len(ids)))) if part.left_out else ids

    def all_rows(self, number: int, rows: int) -> Iterator[tuple[int, pa.Array, np.ndarray]]:
        """Yields a part's blocks, including dropped rows: for each block, its position in the part, ids and vectors."""
        part = self.parts[number]
        ids_file = IdReader(part.ids_path, part.ids_offset, part.first_row) if part.ids_path else None
        read = 0
        for ids, vectors in _kind(part).blocks(part, self.columns, rows):
            _check_block(part, read, vectors, self.num_features)
            if ids_file is not None:
                ids = ids_file.read(len(vectors))
            elif ids is None:
                ids = pa.array(np.arange(part.first_item + read, part.first_item + read + len(vectors)))
            yield read, ids, self._filled(vectors)
            read += len(vectors)
        if read < part.num_rows:
            raise UserError(
                f"{part.path}: expected {part.num_rows} rows from row {part.first_row} on (counted from 0), according "
                f"to the file's header, but found only {read}; write the file again"
            )

    def kept(self, number: int) -> np.ndarray:
        """Returns the positions, in a part, of the rows that `blocks` yields."""
        return _kept(self.parts[number], 0, self.parts[number].num_rows)

    def rows(self, number: int, wanted: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yields the vectors `[n, D]` float32 of the rows `wanted` of a part, at most `rows` vectors at a time.

        `wanted` is sorted. Its row numbers count only the rows that are not dropped, that is, the rows of `blocks`.
        """
        part = self.parts[number]
        if part.left_out:
            wanted = self.kept(number)[wanted]
        return map(self._filled, _kind(part).rows(part, self.columns, wanted, rows))

    def row_number(self, number: int, row: int) -> int:
        """Converts a row number in a part to the row number in all files together.

        The number in a part does not count dropped rows; the number in all files counts them.
        """
        part = self.parts[number]
        return part.first_item + int(self.kept(number)[row] if part.left_out else row)

    def mapped(self) -> np.ndarray | None:
        """Returns all vectors, memory-mapped, if they are one file of contiguous float32; otherwise None."""
        paths = {part.path for part in self.parts}
        if len(paths) > 1 or not self.consecutive:
            return None
        vectors = _kind(self.parts[0]).mapped(Path(paths.pop()))
        return None if vectors is None or len(vectors) > self.num_rows else vectors


def list_parts(
    inputs: Sequence[str],
    *,
    id_column: str = "item_id",
    vector_column: str = "vector",
    ids_paths: Sequence[str] = (),
    rows: int = _ROWS_A_PART,
    allow_empty: bool = False,
) -> VectorParts:
    """Inspects the files, without reading all of their rows, and splits them into parts.

    Args:
      inputs: files, folders (including a data set that Hugging Face's `datasets` saved), or patterns such as
        "items/*.parquet". One text may have several of them, separated by commas. The files of a folder or pattern are
        sorted by name.
      id_column, vector_column: names in files that have columns or named arrays.
      ids_paths: for each file without ids of its own, a text file with one id per line, or a .npy file; patterns are
        accepted. Without any path, or with only "", the ids of such files are row numbers.
      rows: maximum number of rows of a part. Only a part that is a row group of a Parquet file may have more rows.
      allow_empty: whether the files may hold no rows at all; the result then has no parts.

    Raises:
      UserError: if there is no such file, or the vectors of two files have different numbers of features.
    """
    columns = Columns(id_column, vector_column, ids_elsewhere=any(ids_paths))
    files = [path for each in inputs for path in find_remote_files(each, ".parquet", list(_KINDS), allow_empty)]
    looks = {path: _look(path, columns, rows) for path in files}
    ids_of = _match_ids(looks, [path for each in ids_paths for path in find_ids_files(each)])
    parts: list[Part] = []
    num_features, num_rows = 0, 0
    for path in files:
        look = looks[path]
        if look.parts and parts and look.num_features != num_features:
            raise UserError(
                f"{path}: vectors have {look.num_features} features, but the vectors of {parts[0].path} have "
                f"{num_features}; give vectors of one length"
            )
        parts += _with_ids(look.parts, ids_of.get(path, ""), num_rows)
        num_features = look.num_features if look.parts else num_features
        num_rows += sum(part.num_rows for part in look.parts)
    if not parts and not allow_empty:
        raise UserError(f"{inputs[0]}: has no rows; give at least one vector")
    ids_are_row_numbers = not ids_of and not any(look.has_ids for look in looks.values())
    return VectorParts(tuple(parts), num_features, columns, ids_are_row_numbers)


def _look(path: File, columns: Columns, rows: int) -> Look:
    if isinstance(path, RemoteFile):
        return Parquet().look(path, columns, rows)
    if not path.is_file():
        raise UserError(f"{path}: not a file; give a file, a folder of files or a pattern")
    if not path.stat().st_size:
        raise UserError(f"{path}: empty; write the file again")
    return _KINDS[ending(path)].look(path, columns, rows)


def _match_ids(looks: dict[File, Look], ids_paths: Sequence[str]) -> dict[File, str]:
    """Returns the file of ids for each file without ids of its own; an empty dict if ids are row numbers."""
    without = [path for path, look in looks.items() if not look.has_ids]
    if ids_paths and looks and not without:
        raise UserError(f"{next(iter(looks))}: has ids of its own; omit the file of ids, {ids_paths[0]}")
    if ids_paths and len(ids_paths) != len(without):
        raise UserError(
            f"{counted(len(ids_paths), 'file')} of ids for {counted(len(without), 'vector file')} without ids; give "
            "one file of ids per vector file without ids"
        )
    if without and not ids_paths and len(without) < len(looks):
        other = next(path for path, look in looks.items() if look.has_ids)
        raise UserError(f"{without[0]}: has no ids, but {other} has ids; give ids for all files, or for none")
    return dict(zip(without, ids_paths, strict=False))


def _with_ids(parts: list[Part], ids_path: str, first_item: int) -> list[Part]:
    starts, total = [part.first_row for part in parts], sum(part.num_rows for part in parts)
    offsets = id_offsets(Path(ids_path), starts, total, parts[0].path) if ids_path and parts else starts
    return [
        dataclasses.replace(part, first_item=first_item + part.first_row, ids_path=ids_path, ids_offset=offset)
        for part, offset in zip(parts, offsets, strict=True)
    ]


def _kept(part: Part, first: int, count: int) -> np.ndarray:
    """Returns the positions of the rows that are not dropped, among `count` rows of the part from row `first` on."""
    left_out = np.array(part.left_out, np.int64) - first
    return np.delete(np.arange(count), left_out[(left_out >= 0) & (left_out < count)])


def _check_block(part: Part, read: int, vectors: np.ndarray, num_features: int) -> None:
    if read + len(vectors) > part.num_rows:
        raise UserError(
            f"{part.path}: expected {part.num_rows} rows from row {part.first_row} on (counted from 0), according to "
            "the file's header, but found more; write the file again"
        )
    if vectors.shape[1] != num_features:
        raise UserError(
            f"{part.path}: row {part.first_row + read} (counted from 0) has {vectors.shape[1]} values, but the rows "
            f"before it have {num_features}; give vectors of one length"
        )


def _kind(part: Part) -> Kind:
    return _KINDS[ending(Path(part.path))]
