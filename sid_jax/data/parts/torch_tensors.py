"""Reads the tensors of `.pt` files without PyTorch, and without unpickling anything.

`torch.save` writes an uncompressed zip archive with the bytes of each storage and a pickle of the structure, in which a
tensor is a call of `torch._utils._rebuild_tensor_v2` on a storage. This module interprets the few opcodes that such a
pickle needs. Other opcodes, and names of Python objects that tensors do not need, are rejected. No object in the pickle
is called.
"""

from __future__ import annotations

import dataclasses
import math
import pickletools
import struct
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from sid_jax.data.parts.part import reading
from sid_jax.errors import UserError, listed, shown

_DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16, "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16,
    "CharStorage": np.int8, "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}  # fmt: skip
_TENSOR, _PARAMETER, _ORDERED = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "OrderedDict"
_NAMES = {_TENSOR: _TENSOR, _PARAMETER: _PARAMETER, "collections OrderedDict": _ORDERED}
_NAMES |= {f"torch {name}": name for name in _DTYPES}
# Maximum size of the pickle in bytes, enough for a structure with a hundred thousand tensors.
_LONGEST_PICKLE = 2**24
_MOST_AXES = 8
# A zip entry's header: signature, 22 bytes, and the lengths of the name and the extra fields.
_HEADER = struct.Struct("<4s22xHH")
_VALUES = ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


@dataclasses.dataclass(frozen=True)
class _Name:
    name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    dtype: np.dtype
    key: str
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def open_tensor(path: Path) -> tuple[str, np.ndarray]:
    """Returns the name of a `.pt` file's tensor ("" if it is not in a dict), and the tensor, memory-mapped.

    Args:
      path: written by `torch.save(tensor, path)`, or by `torch.save` of a dict with one tensor.

    Raises:
      UserError: if the file is not a `.pt` file, is damaged, does not hold exactly one tensor, or holds Python objects
        other than tensors, numbers, text and collections of them.
    """
    with reading(path, ".pt", zipfile.BadZipFile, struct.error, EOFError):
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                raise ValueError("not a zip archive, the format of torch.save since PyTorch 1.6")
        with zipfile.ZipFile(path) as archive:
            folder, pickled = _structure_of(archive)
            value = _Machine(path).run(pickled)
            tensors = {"": value} if isinstance(value, _Tensor) else _tensors_of(value)
            if len(tensors) != 1:
                raise UserError(
                    f"{path}: contains {len(tensors)} tensors{f' ({listed(tensors)})' if tensors else ''}, but one is "
                    "expected; save one tensor: torch.save(tensor, path)"
                )
            ((name, tensor),) = tensors.items()
            return name, _array(path, archive, folder, tensor)


def _tensors_of(value: Any) -> dict[str, _Tensor]:
    entries = value.items() if isinstance(value, dict) else ()
    return {str(name): each for name, each in entries if isinstance(each, _Tensor)}


def _structure_of(archive: zipfile.ZipFile) -> tuple[str, bytes]:
    """Returns the folder in the archive that holds all entries, and the pickle of the structure."""
    names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
    if len(names) != 1:
        raise ValueError(f"it has {len(names)} entries named data.pkl")
    folder, entry = names[0].removesuffix("data.pkl"), archive.getinfo(names[0])
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > _LONGEST_PICKLE:
        raise ValueError("its data.pkl is compressed or too long")
    if f"{folder}byteorder" in archive.namelist():
        order = archive.getinfo(f"{folder}byteorder")
        if order.file_size > 16 or archive.read(order).strip() != b"little":
            raise ValueError("its numbers are not little-endian")
    return folder, archive.read(entry)


class _Machine:
    """Interprets the opcodes of a pickle of tensors (https://docs.python.org/3/library/pickletools); calls nothing."""

    def __init__(self, path: Path):
        self._path = path
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, pickled: bytes) -> Any:
        """Returns the pickled value: None, bool, int, float, str, `_Tensor`, or lists, tuples and dicts of these."""
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "STOP":
                return self._stack.pop()
            self._step(opcode.name, argument)
        raise ValueError("its pickle does not end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in ("PROTO", "FRAME"):
            return
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("EMPTY_DICT", "EMPTY_LIST"):
            stack.append({} if name == "EMPTY_DICT" else [])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "TUPLE":
            stack.append(tuple(self._to_mark()))
        elif name in _TUPLES:
            stack.append(tuple(self._last(_TUPLES[name])))
        elif name in ("APPEND", "APPENDS"):
            self._append(self._last(1) if name == "APPEND" else self._to_mark())
        elif name in ("SETITEM", "SETITEMS"):
            self._set(self._last(2) if name == "SETITEM" else self._to_mark())
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._global(argument if name == "GLOBAL" else " ".join(map(str, self._last(2))))
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name == "REDUCE":
            self._reduce(*self._last(2))
        else:
            raise self._refused(f"the opcode {name}")

    def _refused(self, what: str) -> UserError:
        return UserError(
            f"{self._path}: contains {what}, which is not part of a tensor and is never unpickled; save only the "
            "tensor: torch.save(tensor, path)"
        )

    def _last(self, count: int) -> list[Any]:
        if len(self._stack) < count or any(each is _MARK for each in self._stack[-count:]):
            raise ValueError("its pickle pops from an empty stack")
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _to_mark(self) -> list[Any]:
        values: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _append(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise ValueError("its pickle appends to a value that is not a list")
        self._stack[-1].extend(values)

    def _set(self, values: list[Any]) -> None:
        target, keys = self._stack[-1], values[::2]
        if not isinstance(target, dict) or len(values) % 2 or not all(isinstance(key, (str, int)) for key in keys):
            raise ValueError("its pickle sets entries of a value that is not a dict with keys of text or integers")
        target.update(zip(keys, values[1::2], strict=True))

    def _global(self, name: str) -> None:
        if name not in _NAMES:
            raise self._refused(f"a Python object, {shown(name)}")
        self._stack.append(_Name(_NAMES[name]))

    def _reduce(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise ValueError("its pickle calls a value that is not a function")
        if function.name == _ORDERED and not arguments:
            self._stack.append({})
        elif function.name == _PARAMETER and isinstance(arguments[0], _Tensor):
            self._stack.append(arguments[0])
        elif function.name == _TENSOR:
            self._stack.append(_tensor(*arguments[:4]))
        else:
            raise ValueError(f"its pickle calls {function.name}")


def _storage(reference: Any) -> _Storage:
    """Returns the storage that a reference `("storage", class, key, device, number of elements)` names."""
    if not isinstance(reference, tuple) or len(reference) != 5:
        raise ValueError("it refers to a storage in an unknown format")
    kind, dtype, key, _, count = reference
    known = isinstance(dtype, _Name) and dtype.name in _DTYPES
    if kind != "storage" or not known or not isinstance(key, str) or type(count) is not int or count < 0:
        raise ValueError("it refers to a storage in an unknown format")
    return _Storage(np.dtype(_DTYPES[dtype.name]), key, count)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> _Tensor:
    numbers = [offset, *shape, *strides]
    if not isinstance(storage, _Storage) or not all(type(each) is int and each >= 0 for each in numbers):
        raise ValueError("one of its tensors has no storage or an invalid shape")
    count = math.prod(shape)
    if len(shape) != len(strides) or len(shape) > _MOST_AXES or count > storage.count:
        raise ValueError("one of its tensors is larger than its storage")
    end = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + 1
    if count and end > storage.count:
        raise ValueError("one of its tensors extends beyond its storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _array(path: Path, archive: zipfile.ZipFile, folder: str, tensor: _Tensor) -> np.ndarray:
    """Returns the numbers of a tensor: a memory map, or a strided view of a memory map if rows are not contiguous."""
    storage, dtype = tensor.storage, tensor.storage.dtype
    if not math.prod(tensor.shape):
        return np.empty(tensor.shape, dtype)
    entry = archive.getinfo(f"{folder}data/{storage.key}")
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size < storage.count * dtype.itemsize:
        raise ValueError(f"its entry {entry.filename} is compressed or too short")
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        signature, name_length, extra_length = _HEADER.unpack(file.read(_HEADER.size))
    if signature != b"PK\x03\x04":
        raise ValueError(f"its entry {entry.filename} is not at the offset that the archive states")
    first = entry.header_offset + _HEADER.size + name_length + extra_length
    row_by_row = (math.prod(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape)))
    start = first + tensor.offset * dtype.itemsize
    if all(
        size == 1 or stride == expected
        for size, stride, expected in zip(tensor.shape, tensor.strides, row_by_row, strict=True)
    ):
        return np.memmap(path, dtype, "r", start, tensor.shape)
    numbers = np.memmap(path, dtype, "r", start, (storage.count - tensor.offset,))
    strides = tuple(stride * dtype.itemsize for stride in tensor.strides)
    return np.lib.stride_tricks.as_strided(numbers, tensor.shape, strides, writeable=False)
