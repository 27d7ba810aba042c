"""Parts of array_record files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sid_jax.data.parts.part import Columns, Kind, Look, Part, even_parts, reading
from sid_jax.errors import UserError


class ArrayRecords(Kind):
    """A record an item: the bytes of its vector, little-endian float32; without ids."""

    def look(self, path: Path, columns: Columns, rows: int) -> Look:
        """Returns what there is to know."""
        with _opened(path) as reader:
            count = reader.num_records()
            size = len(reader.read([0])[0]) if count else 0
        if size % 4 or (count and not size):
            raise UserError(f"{path}: record 0 has {size} bytes; a vector is its float32 numbers, 4 bytes each")
        return Look(size // 4, even_parts(path, count, rows), has_ids=False)

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

    with reading(path, ".array_record"):
        reader = ArrayRecordReader(str(path))
        yield reader
        # It speaks of some damage only now.
        reader.close()
