"""Writes gzipped TFRecord files of integers without TensorFlow, as `tf.train.Example` with lists of int64."""

from __future__ import annotations

import functools
import gzip
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

# The polynomial of CRC-32C, bit-reversed.
_POLYNOMIAL = 0x82F63B78


def write_tfrecords(path: Path, examples: Iterable[Mapping[str, Sequence[int]]]) -> None:
    """Writes one record per example: its length, the length's checksum, the bytes, their checksum, little-endian."""
    # Without file name and time, so that the same examples give the same bytes.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for example in examples:
            data = _example(example)
            length = struct.pack("<Q", len(data))
            file.write(length + _masked(length) + data + _masked(data))


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


def _masked(data: bytes) -> bytes:
    checksum = crc32c(data)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """Returns the CRC-32C (Castagnoli) checksum of some bytes."""
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
