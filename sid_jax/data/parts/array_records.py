"""Parts of array_record files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sid_jax.data.parts.part import Columns, Part
from sid_jax.data.reason import reason
from sid_jax.errors import UserError


class ArrayRecords:
    """A record an item: the bytes of its vector, little-endian float32."""

    has_ids = False

    def look(self, path: Path, columns: Columns, rows: int) -> tuple[int, list[Part]]:
        """Returns D and the parts."""
        with _opened(path) as reader:
            count = reader.num_records()
            size = len(reader.read([0])[0]) if count else 0
        if size % 4 or (count and not size):
            raise UserError(f"{path}: record 0 has {size} bytes; a vector is its float32 numbers, 4 bytes each")
        return size // 4, [Part(str(path), start, min(rows, count - start)) for start in range(0, count, rows)]

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[None, np.ndarray]]:
        """Yields vectors."""
        for vectors in self.rows(part, columns, np.arange(part.num_rows), rows):
            yield None, vectors

    def rows(self, part: Part, columns: Columns, wanted: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yields chosen vectors."""
        path = Path(part.path)
        with _opened(path) as reader:
            for first in range(0, len(wanted), rows):
                chosen = (part.first_row + wanted[first : first + rows]).tolist()
                records = reader.read(chosen)
                size = len(records[0])
                for row, record in zip(chosen, records, strict=True):
                    if len(record) != size:
                        raise UserError(f"{path}: record {row} has {len(record)} bytes, but record {chosen[0]} {size}")
                yield np.frombuffer(b"".join(records), "<f4").reshape(len(records), -1)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        reader = ArrayRecordReader(str(path))
        yield reader
        # It speaks of some damage only now.
        reader.close()
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        raise UserError(f"{path}: not a readable array_record file ({reason(error)}); write it anew") from error
