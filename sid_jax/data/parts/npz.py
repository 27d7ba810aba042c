"""Parts of .npz files, compressed or not."""

from __future__ import annotations

import contextlib
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from sid_jax.data.arrow_columns import as_float32, ids_from_numpy
from sid_jax.data.npy_file import check_vectors, read_header
from sid_jax.data.parts.part import Columns, Kind, Look, Part, even_parts, reading
from sid_jax.errors import UserError

# Deflate shrinks nothing but zeros a thousandfold; vectors it hardly shrinks at all.
_MOST_UNPACKED = 200


class Npz(Kind):
    """An array `[N, D]` of floats, and perhaps one `[N]` of whole numbers or strings, the ids; nothing is unpickled."""

    def look(self, path: Path, columns: Columns, rows: int) -> Look:
        """Returns what there is to know."""
        with _opened(path, columns) as (vectors, ids):
            num_items, num_features = vectors.shape
            return Look(num_features, even_parts(path, num_items, rows), has_ids=ids is not None)

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[pa.Array | None, np.ndarray]]:
        """Yields ids, where there are some, and vectors. What comes before the part is unpacked too."""
        path = Path(part.path)
        with _opened(path, columns) as (vectors, ids):
            vectors.skip(part.first_row)
            if ids is not None:
                ids.skip(part.first_row)
            for start in range(0, part.num_rows, rows):
                count, found = min(rows, part.num_rows - start), None
                if ids is not None:
                    found = ids_from_numpy(ids.read(count), f"{path}: ids", first_row=part.first_row + start)
                yield found, as_float32(vectors.read(count))


class _Array:
    """An array in the archive, read from its first row to its last.

    Args:
      archive: it.
      name: of the array.

    Raises:
      ValueError: if what the archive, and the array's header, say of its size does not go together.
    """

    def __init__(self, archive: zipfile.ZipFile, name: str):
        info = archive.getinfo(f"{name}.npy")
        if info.file_size > _MOST_UNPACKED * max(info.compress_size, 2**16):
            raise ValueError(
                f"{name} would unpack to {info.file_size} bytes from {info.compress_size}, as no vectors do; "
                "np.savez does not pack them"
            )
        self._stream: IO[bytes] = archive.open(info)
        self.shape, by_columns, self.dtype = read_header(self._stream)
        if self.dtype.hasobject:
            raise ValueError(f"{name} holds Python objects, which are never unpickled; save ids as np.array(ids, str)")
        if by_columns and len(self.shape) > 1 and min(self.shape) > 1:
            raise ValueError(f"{name} lies column by column; save np.ascontiguousarray({name})")
        self._row_shape = self.shape[1:]
        self._row_bytes = int(np.prod(self._row_shape, dtype=object)) * self.dtype.itemsize
        size = self._stream.tell() + self.shape[0] * self._row_bytes if self.shape else -1
        if size != info.file_size:
            raise ValueError(f"{name} is {info.file_size} bytes long, but its header says {size}")

    def skip(self, count: int) -> None:
        self._stream.seek(count * self._row_bytes, 1)

    def read(self, count: int) -> np.ndarray:
        """Returns the next rows."""
        content = self._stream.read(count * self._row_bytes)
        return np.frombuffer(content, self.dtype).reshape(-1, *self._row_shape)


@contextlib.contextmanager
def _opened(path: Path, columns: Columns) -> Iterator[tuple[_Array, _Array | None]]:
    """Gives the two arrays, the second None where there is none."""
    # What the three libraries below it raise, beside what `reading` knows of.
    damage = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, SyntaxError)
    with reading(path, ".npz", *damage), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        name = columns.find("vector_column", names, path)
        id_name = columns.find_if_any("id_column", names, path)
        vectors, ids = _Array(archive, name), _Array(archive, id_name) if id_name else None
        vectors.dtype = check_vectors(path, vectors.dtype, vectors.shape)
        if ids is not None and ids.shape != vectors.shape[:1]:
            raise UserError(
                f"{path}: holds ids of shape {list(ids.shape)}, but {vectors.shape[0]} vectors; give one id a row"
            )
        yield vectors, ids
