"""Reads vectors from files of arrays (.npy, .pt, .npz, .safetensors, .array_record), block by block."""

from __future__ import annotations

import abc
import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np
import pyarrow as pa
from safetensors import SafetensorError, safe_open

from sid_jax.data.arrow_columns import NUMBER_TYPES, as_float32, ids_from_numpy
from sid_jax.data.blocks import forget_pages, take_rows
from sid_jax.data.parts.part import DAMAGED_NPZ, Columns, Kind, Look, Part, even_parts, reading
from sid_jax.data.parts.torch_tensors import open_tensor
from sid_jax.errors import UserError, reason

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_TENSOR_TYPES = ("F16", "BF16", "F32", "F64", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")
# Maximum plausible ratio of decompressed to compressed size of vectors. Deflate compresses zeros a thousandfold, but
# vectors hardly at all.
_MOST_UNPACKED = 200
# Maximum size in bytes of the header of a .safetensors file. The safetensors library accepts up to 100 MB, but
# the memory that parsing needs is several times the header's size.
_LONGEST_HEADER = 2**24


def open_npy(path: Path) -> np.memmap:
    """Returns the array of a .npy file, memory-mapped: its content is read from the file when it is used.

    Raises:
      UserError: if the file is not a readable .npy array, or holds Python objects, which are never unpickled.
    """
    try:
        # An array size that overflows raises an error, so NumPy's additional warning is suppressed.
        with np.errstate(all="ignore"):
            return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # NumPy may raise anything for a damaged header.
        if "Python objects" in str(error):
            raise UserError(
                f"{path}: contains Python objects (such as a pandas column of text), which are never unpickled; save "
                "text with np.save(path, array.astype(str)) and vectors with np.save(path, np.stack(array))"
            ) from error
        raise UserError(f"{path}: not a readable .npy array ({reason(error)}); save it again with np.save") from error


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the header of a .npy file, up to the start of its array.

    Returns:
      Shape, whether the order is column-major, and dtype.

    Raises:
      Exception: any error that NumPy raises for a damaged header.
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in readers:
        raise ValueError(f"version {version} of the .npy format is not supported")
    return readers[version](stream)


def check_vectors(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.dtype:
    """Returns the dtype of a file's array, after checking that it is an array of vectors.

    NumPy lacks bfloat16, and writes an array of bfloat16 as 2-byte voids (V2), so V2 is taken as bfloat16.

    Raises:
      UserError: if it is not an array of vectors.
    """
    if dtype == np.dtype("V2"):
        dtype = _BFLOAT16
    if dtype != _BFLOAT16 and (dtype.kind not in "iuf" or dtype.itemsize > 8):
        raise UserError(f"{path}: expected bfloat16, {NUMBER_TYPES}, found {dtype}; save the vectors as float32")
    if len(shape) != 2 or shape[0] < 0 or shape[1] < 1:
        raise UserError(f"{path}: expected an array [N, D] with a row per item, found shape {list(shape)}")
    return dtype


def read_rows(path: Path, offset: int, rows: np.ndarray, dtype: np.dtype, num_features: int) -> np.ndarray:
    """Returns rows `[m]` of an array `[n, num_features]` that a file holds row by row from byte `offset` on.

    Rows are read instead of mapped, since the memory pages of a map count as memory of the process until the map is
    closed.
    """
    found, size = np.empty((len(rows), num_features), dtype), num_features * dtype.itemsize
    with path.open("rb", buffering=0) as file:
        for vector, row in zip(found.view(np.uint8), rows.tolist(), strict=True):
            file.seek(offset + row * size)
            file.readinto(vector)
    return found


class Npy(Kind):
    """An array `[N, D]` of numbers, without ids."""

    def opened(self, path: Path) -> Any:
        """Returns the memory-mapped array."""
        array = open_npy(path)
        return array.view(check_vectors(path, array.dtype, array.shape))

    def look(self, path: Path, columns: Columns, rows: int) -> Look:
        """Inspects the file."""
        num_items, num_features = self.opened(path).shape
        return Look(num_features, even_parts(path, num_items, rows), has_ids=False)

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[None, np.ndarray]]:
        """Yields vectors."""
        path, array = Path(part.path), self.opened(Path(part.path))
        if not array.flags.c_contiguous:
            for start in range(part.first_row, part.first_row + part.num_rows, rows):
                yield None, as_float32(array[start : min(start + rows, part.first_row + part.num_rows)])
                forget_pages(array)
            return
        with path.open("rb") as file:
            # The vectors are read instead of mapped, since the memory pages of a map count as memory of the process.
            file.seek(array.offset + part.first_row * array.strides[0])
            for start in range(0, part.num_rows, rows):
                count = min(rows, part.num_rows - start)
                block = np.fromfile(file, array.dtype, count * array.shape[1])
                yield None, as_float32(block.reshape(-1, array.shape[1]))

    def rows(self, part: Part, columns: Columns, wanted: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yields the vectors of the wanted rows."""
        path, array = Path(part.path), self.opened(Path(part.path))
        for first in range(0, len(wanted), rows):
            chosen = part.first_row + wanted[first : first + rows]
            if array.flags.c_contiguous:
                yield as_float32(read_rows(path, array.offset, chosen, array.dtype, array.shape[1]))
            else:
                yield as_float32(take_rows(array, chosen))

    def mapped(self, path: Path) -> np.ndarray | None:
        """Returns all vectors, memory-mapped, if the file holds contiguous float32; otherwise None."""
        array = self.opened(path)
        return np.asarray(array) if array.dtype == np.float32 and array.flags.c_contiguous else None


class TorchTensor(Npy):
    """A tensor `[N, D]` of numbers without ids, as `torch.save` writes it."""

    def opened(self, path: Path) -> Any:
        """Returns the memory-mapped tensor."""
        _, tensor = open_tensor(path)
        check_vectors(path, tensor.dtype, tensor.shape)
        return tensor


class _NamedArrays(Kind):
    """Named arrays: vectors `[N, D]` and optional ids `[N]`."""

    @abc.abstractmethod
    def opened(self, path: Path, columns: Columns) -> contextlib.AbstractContextManager[tuple[Any, Any]]:
        """Yields a reader of vectors and a reader of ids (or None); each has `shape` and `take(start, end)`."""

    def look(self, path: Path, columns: Columns, rows: int) -> Look:
        """Inspects the file."""
        with self._opened(path, columns) as (vectors, ids):
            num_items, num_features = vectors.shape
            return Look(num_features, even_parts(path, num_items, rows), has_ids=ids is not None)

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[pa.Array | None, np.ndarray]]:
        """Yields ids, if there are any, and vectors."""
        path, last = Path(part.path), part.first_row + part.num_rows
        with self._opened(path, columns) as (vectors, ids):
            for start in range(part.first_row, last, rows):
                end, found = min(start + rows, last), None
                if ids is not None:
                    found = ids_from_numpy(ids.take(start, end), f"{path}: ids", first_row=start)
                yield found, as_float32(vectors.take(start, end))

    @contextlib.contextmanager
    def _opened(self, path: Path, columns: Columns) -> Iterator[tuple[Any, Any]]:
        with self.opened(path, columns) as (vectors, ids):
            if ids is not None and tuple(ids.shape) != (vectors.shape[0],):
                found, expected = list(ids.shape), vectors.shape[0]
                raise UserError(f"{path}: ids of shape {found}, but {expected} vectors; give one id per vector")
            yield vectors, ids


class Npz(_NamedArrays):
    """An array `[N, D]` of numbers, and optional ids `[N]`, whole numbers or strings; nothing is unpickled."""

    def opened(self, path: Path, columns: Columns) -> contextlib.AbstractContextManager[tuple[Any, Any]]:
        """Yields the arrays of vectors and of ids; None instead of ids if there are none."""
        return _npz(path, columns)


class Safetensors(_NamedArrays):
    """A tensor `[N, D]` of numbers, and optional ids `[N]`, whole numbers."""

    def opened(self, path: Path, columns: Columns) -> contextlib.AbstractContextManager[tuple[Any, Any]]:
        """Yields the tensors of vectors and of ids; None instead of ids if there are none."""
        return _safetensors(path, columns)


class _Array:
    """An array in a zip archive. It is read sequentially, so rows between two reads are decompressed, too.

    Raises ValueError if the array's size in the archive differs from its size according to the array's header.
    """

    def __init__(self, archive: zipfile.ZipFile, name: str):
        info = archive.getinfo(f"{name}.npy")
        if info.file_size > _MOST_UNPACKED * max(info.compress_size, 2**16):
            raise ValueError(
                f"{name} would decompress from {info.compress_size} to {info.file_size} bytes, which is implausible "
                "for vectors; save it without compression, with np.savez"
            )
        self._stream: IO[bytes] = archive.open(info)
        self.shape, by_columns, self.dtype = read_header(self._stream)
        if self.dtype.hasobject:
            raise ValueError(
                f"{name} contains Python objects, which are never unpickled; save ids as np.array(ids, str)"
            )
        if by_columns and len(self.shape) > 1 and min(self.shape) > 1:
            raise ValueError(f"{name} is in column-major (Fortran) order; save np.ascontiguousarray({name})")
        if not self.shape:
            raise ValueError(f"{name} is a single number, not an array with one row per item")
        self._row, self._row_shape = 0, self.shape[1:]
        self._row_bytes = int(np.prod(self._row_shape, dtype=object)) * self.dtype.itemsize
        size = self._stream.tell() + self.shape[0] * self._row_bytes
        if size != info.file_size:
            raise ValueError(f"{name} is {info.file_size} bytes long, but its header says {size}")

    def take(self, start: int, end: int) -> np.ndarray:
        self._stream.seek((start - self._row) * self._row_bytes, 1)
        self._row = end
        content = self._stream.read((end - start) * self._row_bytes)
        return np.frombuffer(content, self.dtype).reshape(-1, *self._row_shape)


@contextlib.contextmanager
def _npz(path: Path, columns: Columns) -> Iterator[tuple[_Array, _Array | None]]:
    """Yields the arrays of vectors and of ids; None instead of ids if there are none."""
    with reading(path, ".npz", *DAMAGED_NPZ), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        name = columns.find("vector_column", names, path)
        id_name = columns.find_if_any("id_column", names, path)
        vectors, ids = _Array(archive, name), _Array(archive, id_name) if id_name else None
        vectors.dtype = check_vectors(path, vectors.dtype, vectors.shape)
        yield vectors, ids


class _Tensor:
    def __init__(self, rows: Any):
        self._rows, self.shape = rows, rows.get_shape()

    def take(self, start: int, end: int) -> np.ndarray:
        return self._rows[start:end]


@contextlib.contextmanager
def _safetensors(path: Path, columns: Columns) -> Iterator[tuple[_Tensor, _Tensor | None]]:
    """Yields the tensors of vectors and of ids; None instead of ids if there are none."""
    with reading(path, ".safetensors"):
        with path.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"its header of {length} bytes is too long")
        try:
            file = safe_open(path, "np")
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        with file:
            names = list(file.keys())
            name = columns.find("vector_column", names, path)
            id_name = columns.find_if_any("id_column", names, path)
            rows = file.get_slice(name)
            kind, shape = rows.get_dtype(), rows.get_shape()
            if kind not in _TENSOR_TYPES or len(shape) != 2 or shape[1] < 1:
                raise UserError(f"{path}: expected a tensor [N, D] of bfloat16, {NUMBER_TYPES}, found {kind} {shape}")
            yield _Tensor(rows), _Tensor(file.get_slice(id_name)) if id_name else None


class ArrayRecords(Kind):
    """One record per item: the bytes of its vector, little-endian float32, without ids."""

    def look(self, path: Path, columns: Columns, rows: int) -> Look:
        """Inspects the file."""
        with _opened_records(path) as reader:
            count = reader.num_records()
            size = len(reader.read([0])[0]) if count else 0
        if size % 4 or (count and not size):
            raise UserError(
                f"{path}: record 0 has {size} bytes; each record must be one vector of float32 values, 4 bytes per "
                "value"
            )
        return Look(size // 4, even_parts(path, count, rows), has_ids=False)

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[None, np.ndarray]]:
        """Yields vectors."""
        for vectors in self.rows(part, columns, np.arange(part.num_rows), rows):
            yield None, vectors

    def rows(self, part: Part, columns: Columns, wanted: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yields the vectors of the wanted rows."""
        path = Path(part.path)
        with _opened_records(path) as reader:
            for first in range(0, len(wanted), rows):
                chosen = (part.first_row + wanted[first : first + rows]).tolist()
                records = reader.read(chosen)
                size = len(records[0])
                for row, record in zip(chosen, records, strict=True):
                    if len(record) != size:
                        raise UserError(
                            f"{path}: record {row} has {len(record)} bytes, but record {chosen[0]} has {size}; give "
                            "records of one length"
                        )
                yield np.frombuffer(b"".join(records), "<f4").reshape(len(records), -1)


@contextlib.contextmanager
def _opened_records(path: Path) -> Iterator[Any]:
    from array_record.python.array_record_module import ArrayRecordReader

    with reading(path, ".array_record"):
        reader = ArrayRecordReader(str(path))
        yield reader
        # Some damage is reported only on closing.
        reader.close()
