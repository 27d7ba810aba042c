"""Reads and writes TFRecord files of `tf.train.Example` with lists of int64, without TensorFlow.

A record consists of the data's length, the length's checksum, the data, and the data's checksum, little-endian.
"""

from __future__ import annotations

import functools
import gzip
import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sid_jax.data.file_content import open_plain
from sid_jax.data.parts.part import reading

# The polynomial of CRC-32C, bit-reversed.
_POLYNOMIAL = 0x82F63B78
# Number of bytes of a protocol buffer's fixed-width values, by wire type.
_WIDTHS = {1: 8, 5: 4}


def read_tfrecords(path: Path) -> list[dict[str, list[int]]]:
    """Returns each example of a file, gzipped or not, as a dict of its int64 lists by name; other features are ignored.

    Raises:
      UserError: if the file is missing or damaged.
    """
    with reading(path, ".tfrecord", EOFError, struct.error, zlib.error), open_plain(path) as file:
        return [_integers(data) for data in _records(file.read())]


def _records(content: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(content):
        length, check = struct.unpack_from("<QI", content, place)
        end = place + 12 + length
        data, last = content[place + 12 : end], content[end : end + 4]
        if check != _masked(content[place : place + 8]) or last != struct.pack("<I", _masked(data)):
            raise ValueError(f"the checksum of the record at byte {place} is wrong")
        yield data
        place = end + 4


def _integers(example: bytes) -> dict[str, list[int]]:
    """Reads `Example{features{feature: {name: Feature{int64_list{value}}}}}`, whose values may be packed."""
    found: dict[str, list[int]] = {}
    for features in _of(example, 1):
        for entry in _of(features, 1):
            (name,), (feature,) = _of(entry, 1), _of(entry, 2)
            for values in itertools.chain.from_iterable(_of(each, 1) for each in _of(feature, 3)):
                numbers = [values] if isinstance(values, int) else _varints(values)
                found.setdefault(name.decode(), []).extend(each - (each >> 63 << 64) for each in numbers)
    return found


def _of(data: bytes, wanted: int) -> list[Any]:
    """Returns the values, integers or bytes, of the fields of a protocol buffer that have the field number `wanted`."""
    found: list[Any] = []
    value: Any
    place = 0
    while place < len(data):
        key, place = _read_varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _read_varint(data, place)
        else:
            length, place = (_WIDTHS[kind], place) if kind != 2 else _read_varint(data, place)
            value, place = data[place : place + length], place + length
        if place > len(data):
            raise ValueError("a field extends beyond its message")
        if key >> 3 == wanted:
            found.append(value)
    return found


def _varints(data: bytes) -> list[int]:
    found, place = [], 0
    while place < len(data):
        value, place = _read_varint(data, place)
        found.append(value)
    return found


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """Returns a number of up to 64 bits, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, place
    raise ValueError("a number has more than 64 bits")


def write_tfrecords(path: Path, examples: Iterable[Mapping[str, Sequence[int]]]) -> None:
    """Writes a gzipped file with one record per example."""
    # The gzip header has no file name and no time, so that the same examples give the same bytes.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for example in examples:
            data = _example(example)
            length = struct.pack("<Q", len(data))
            file.write(length + struct.pack("<I", _masked(length)) + data + struct.pack("<I", _masked(data)))


def _example(features: Mapping[str, Sequence[int]]) -> bytes:
    """Returns `Example{features{feature: {name: Feature{int64_list{value}}}}}`, encoded as a protocol buffer."""
    entries = (
        _field(1, _field(1, name.encode()) + _field(2, _field(3, _field(1, b"".join(map(_varint, values))))))
        for name, values in features.items()
    )
    return _field(1, b"".join(entries))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _masked(data: bytes) -> int:
    checksum = crc32c(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Returns the CRC-32C (Castagnoli) checksum of the data."""
    table, value = _table(), 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


@functools.cache
def _table() -> tuple[int, ...]:
    values = list(range(256))
    for _ in range(8):
        values = [value >> 1 ^ (_POLYNOMIAL if value & 1 else 0) for value in values]
    return tuple(values)
