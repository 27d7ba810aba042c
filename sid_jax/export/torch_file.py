"""Writes `.pt` files that `torch.load(path, weights_only=True)` reads, without PyTorch.

Such a file is an uncompressed zip archive with one folder. `data.pkl` is a pickle of the structure, in which a tensor
is a call of `torch._utils._rebuild_tensor_v2` on a storage. The bytes of the storages are the entries `data/0`,
`data/1`, … The pickle is assembled opcode by opcode (protocol 2, https://docs.python.org/3/library/pickletools), since
Python's own pickler would need torch's classes.
"""

from __future__ import annotations

import math
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

_FOLDER = "archive"
# Alignment of each entry's data in bytes, the same as PyTorch's, so that `mmap=True` can use the data in place.
_ALIGNMENT = 64
# Number of bytes in a zip entry's header without its name and extra fields. Each extra field has its own header of 4
# bytes.
_HEADER_BYTES = 30
_STORAGES = {
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.int32): "IntStorage",
    np.dtype(np.int64): "LongStorage",
}


def write_torch_file(path: str | Path, content: dict[str, Any] | np.ndarray) -> None:
    """Writes a dict or a single array as `torch.save` does. The bytes are deterministic.

    Args:
      path: the file; an existing file is overwritten.
      content: a float32, int32 or int64 array of any shape, or a dict with str keys. Values of the dict may be such
        arrays, which become tensors; str, int, float, bool and None; and lists, tuples and dicts of all these. NumPy
        scalars are rejected, since torch rejects them.

    Raises:
      TypeError: if the content has a value of another type; the message names its key.
    """
    writer = _PickleWriter()
    pickled = writer.dump(content)
    with Path(path).open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        entries = {"data.pkl": pickled, "byteorder": b"little"}
        entries |= {f"data/{number}": _little_endian(array) for number, array in enumerate(writer.arrays)}
        entries["version"] = b"3\n"
        for name, data in entries.items():
            # An explicit ZipInfo has a fixed timestamp; a bare name would get the current time.
            entry = zipfile.ZipInfo(f"{_FOLDER}/{name}")
            entry.extra = _padding(file.tell(), entry.filename)
            archive.writestr(entry, data)


def _little_endian(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(order="C")


def _padding(header: int, name: str) -> bytes:
    """Returns an extra field that aligns an entry's bytes to a multiple of 64; `header` is the header's position."""
    length = -(header + _HEADER_BYTES + len(name) + 4) % _ALIGNMENT
    return struct.pack("<2sH", b"FB", length) + bytes(length)


class _PickleWriter:
    """Writes a pickle, and collects the arrays that the pickle refers to."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self._opcodes = bytearray()

    def dump(self, content: dict[str, Any] | np.ndarray) -> bytes:
        self._opcodes += pickle.PROTO + b"\x02"
        self._value(content, "content")
        self._opcodes += pickle.STOP
        return bytes(self._opcodes)

    def _value(self, value: Any, where: str) -> None:
        # The exact type decides, since np.float64 and np.str_ pass isinstance for float and str, but torch rejects
        # them.
        kind = type(value)
        if value is None:
            self._opcodes += pickle.NONE
        elif kind is bool:
            self._opcodes += pickle.NEWTRUE if value else pickle.NEWFALSE
        elif kind is int:
            self._int(value, where)
        elif kind is float:
            self._opcodes += pickle.BINFLOAT + struct.pack(">d", value)
        elif kind is str:
            self._str(value)
        elif kind is list:
            self._opcodes += pickle.EMPTY_LIST + pickle.MARK
            self._items(value, where)
            self._opcodes += pickle.APPENDS
        elif kind is tuple:
            self._opcodes += pickle.MARK
            self._items(value, where)
            self._opcodes += pickle.TUPLE
        elif kind is dict:
            self._dict(value, where)
        elif kind is np.ndarray:
            self._tensor(value, where)
        else:
            raise TypeError(
                f"{where} is a {kind.__module__}.{kind.__qualname__}, which cannot be written to a .pt file; use "
                "numbers, text, lists, dicts or arrays"
            )

    def _int(self, value: int, where: str) -> None:
        if -(2**31) <= value < 2**31:
            self._opcodes += pickle.BININT + struct.pack("<i", value)
            return
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        if len(data) > 255:
            raise TypeError(f"{where} is an int of {value.bit_length()} bits, which cannot be written to a .pt file")
        self._opcodes += pickle.LONG1 + bytes([len(data)]) + data

    def _str(self, value: str) -> None:
        data = value.encode()
        self._opcodes += pickle.BINUNICODE + struct.pack("<I", len(data)) + data

    def _items(self, values: list[Any] | tuple[Any, ...], where: str) -> None:
        for number, value in enumerate(values):
            self._value(value, f"{where}[{number}]")

    def _dict(self, values: dict[Any, Any], where: str) -> None:
        self._opcodes += pickle.EMPTY_DICT + pickle.MARK
        for key, value in values.items():
            if type(key) is not str:
                raise TypeError(f"{where} has the key {key!r}; in a .pt file each key must be a str")
            self._str(key)
            self._value(value, f"{where}[{key!r}]")
        self._opcodes += pickle.SETITEMS

    def _tensor(self, array: np.ndarray, where: str) -> None:
        """Emits `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`."""
        storage = _STORAGES.get(array.dtype.newbyteorder("="))
        if storage is None:
            names = ", ".join(str(dtype) for dtype in _STORAGES)
            raise TypeError(f"{where} is an array of {array.dtype}; a .pt file can have arrays of {names}")
        strides = tuple(math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))
        self._global("torch._utils", "_rebuild_tensor_v2")
        self._opcodes += pickle.MARK
        self._storage(storage, array)
        self._value(0, where)
        self._value(array.shape, where)
        self._value(strides, where)
        self._value(False, where)
        self._global("collections", "OrderedDict")
        self._opcodes += pickle.EMPTY_TUPLE + pickle.REDUCE
        self._opcodes += pickle.TUPLE + pickle.REDUCE

    def _storage(self, storage: str, array: np.ndarray) -> None:
        """Emits the reference `("storage", class, key, device, number of elements)`."""
        self._opcodes += pickle.MARK
        self._str("storage")
        self._global("torch", storage)
        self._str(str(len(self.arrays)))
        self._str("cpu")
        self._value(array.size, "size")
        self._opcodes += pickle.TUPLE + pickle.BINPERSID
        self.arrays.append(array)

    def _global(self, module: str, name: str) -> None:
        self._opcodes += pickle.GLOBAL + f"{module}\n{name}\n".encode()
