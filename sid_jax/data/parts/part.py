"""Parts of vector files (ranges of rows), and the interface that the readers of all file formats have."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sid_jax.buckets.names import address_of
from sid_jax.buckets.place import File, RemoteFile
from sid_jax.errors import UserError, listed, reason
from sid_jax.paths import bucket_address

_SECOND_FORMS = {"item_id": "ids", "vector": "vectors"}


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a file: a range of consecutive rows. The class for a part of an item is `sid_jax.data.layout.ItemPart`.

    Attributes:
      path: the file; an address if it is read from a bucket.
      first_row: row number, in the file, of the part's first row.
      num_rows: number of rows.
      first_item: number of rows before this part in all files together.
      row_groups: for a Parquet file, the numbers of the first row group and of the row group after the last one.
      ids_path: the file of the ids; "" if the ids are in `path` or are row numbers.
      ids_offset: position of the first id in `ids_path`: a row number in a .npy file, a byte offset in a text file.
      left_out: rows that are skipped, counted from `first_row`, in ascending order.
      num_features: for a format in which vectors may differ in length, the number D of features that each vector must
        have; otherwise None.
    """

    path: str
    first_row: int
    num_rows: int
    first_item: int = 0
    row_groups: tuple[int, int] = (0, 0)
    ids_path: str = ""
    ids_offset: int = 0
    left_out: tuple[int, ...] = ()
    num_features: int | None = None


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of the columns of ids and vectors, or of the arrays or tensors in a file that has named arrays or tensors.

    Attributes:
      id_column, vector_column: the names.
      ids_elsewhere: whether ids come from separate files, so a table may lack them.
    """

    id_column: str
    vector_column: str
    ids_elsewhere: bool = False

    def find(self, setting: str, names: Sequence[str], path: File) -> str:
        """Returns the name of a file's column of ids (for the setting "id_column") or of vectors ("vector_column").

        If the setting has its default, the name "ids" or "vectors" is accepted, too. Raises UserError if there is no
        such name, or it occurs twice.
        """
        found = self.find_if_any(setting, names, path)
        if found is None:
            wanted = getattr(self, setting)
            if not names:
                raise UserError(f"{path}: has no {wanted!r}, because it is empty; give a file with content")
            raise UserError(f"{path}: has no {wanted!r}; set --config.data.{setting} to one of {listed(names)}")
        return found

    def find_ids(self, names: Sequence[str], path: File) -> str | None:
        """Returns the name of a table's id column, or None if the table has none.

        Raises UserError if the id column is missing, unless ids are in separate files or the table has only vectors.
        """
        others = set(names) - {self.find("vector_column", names, path)}
        return (self.find_if_any if self.ids_elsewhere or not others else self.find)("id_column", names, path)

    def find_if_any(self, setting: str, names: Sequence[str], path: File) -> str | None:
        """Like `find`, but returns None if there is no such name."""
        wanted = getattr(self, setting)
        found = next((name for name in (wanted, _SECOND_FORMS.get(wanted, wanted)) if name in names), None)
        if found is not None and names.count(found) > 1:
            raise UserError(
                f"{path}: {names.count(found)} columns have the name {found!r}; give each column its own name"
            )
        return found


@dataclasses.dataclass(frozen=True)
class Look:
    """The result of inspecting a file without reading all of its rows.

    Attributes:
      num_features: D.
      parts: the parts; empty if the file has no rows.
      has_ids: whether the file has ids of its own.
    """

    num_features: int
    parts: list[Part]
    has_ids: bool


class Kind(abc.ABC):
    """Interface of a reader of one file format.

    A reader raises a UserError that names the file if the file is damaged or has other content.
    """

    @abc.abstractmethod
    def look(self, path: Path, columns: Columns, rows: int) -> Look:
        """Inspects a file and splits it into parts of at most `rows` rows; a row group of Parquet is never split."""

    @abc.abstractmethod
    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[pa.Array | None, np.ndarray]]:
        """Yields ids `[n]`, int64 or string (None without ids), and vectors `[n, D]` float32, `n <= rows`."""

    def rows(self, part: Part, columns: Columns, wanted: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yields the vectors of the rows `wanted`, at most `rows` at a time.

        `wanted` is sorted, and its rows are counted from the part's first row. This implementation reads all rows of
        the part; a subclass may read only the wanted rows.
        """
        start = 0
        for _, vectors in self.blocks(part, columns, rows):
            first, end = np.searchsorted(wanted, [start, start + len(vectors)])
            if end > first:
                yield vectors[wanted[first:end] - start]
            start += len(vectors)

    def mapped(self, path: Path) -> np.ndarray | None:
        """Returns all vectors, memory-mapped, if the file holds them as contiguous float32; otherwise None."""
        return None


def file_of(path: str) -> File:
    """Returns the file at a part's path, which may be an address in a bucket."""
    return Path(path) if (address := bucket_address(path)) is None else RemoteFile(address)


def opened(path: File) -> contextlib.AbstractContextManager[Any]:
    """Returns a context manager that opens a file, local or in a bucket, for pyarrow."""
    return path.open() if isinstance(path, RemoteFile) else pa.OSFile(str(path))


def identity(path: str) -> list[str | int]:
    """Returns values that change if a file changes.

    The values are path, size and modification time. For a file from a bucket, they are address, size and version.
    """
    file = file_of(path)
    if isinstance(file, RemoteFile):
        return file.identity()
    about = file.stat()
    if (address := address_of(file)) is not None:
        # The path of a local copy contains the version of its content.
        return [address, about.st_size, next(each.name for each in file.parents if "@" in each.name)]
    return [path, about.st_size, about.st_mtime_ns]


def even_parts(path: Path, num_rows: int, rows: int, num_features: int | None = None) -> list[Part]:
    """Splits a file into parts of at most `rows` rows."""
    return [
        Part(str(path), start, min(rows, num_rows - start), num_features=num_features)
        for start in range(0, num_rows, rows)
    ]


# Exceptions of zipfile, zlib, lzma and NumPy for a damaged .npz file, in addition to those that `reading` handles.
DAMAGED_NPZ = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, SyntaxError)


@contextlib.contextmanager
def reading(path: File, ending: str, *also: type[Exception]) -> Iterator[None]:
    """Turns the errors that a library raises for a damaged file, and the errors in `also`, into a UserError."""
    damage = (OSError, ValueError, LookupError, TypeError, MemoryError, OverflowError, RuntimeError, pa.ArrowException)
    try:
        yield
    except (*damage, *also) as error:
        raise UserError(f"{path}: not a readable {ending} file ({reason(error)}); write the file again") from error
