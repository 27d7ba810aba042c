"""Parts of files in Arrow's own format: Feather, and what Hugging Face's `datasets` save."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from sid_jax.data.arrow_columns import plain_ids, vectors_from_arrow
from sid_jax.data.parts.part import Columns, Kind, Look, Part, even_parts, reading

# A file for random access begins with it; one that was written as a stream does not.
_MAGIC = b"ARROW1"


class Arrow(Kind):
    """A table with a column of ids and one of vectors, lists or fixed-size lists, as a file or as a stream."""

    def look(self, path: Path, columns: Columns, rows: int) -> Look:
        """Returns what there is to know."""
        with reading(path, "Arrow"):
            # Of a compressed file the ids alone are unpacked to count them.
            count = sum(len(batch) for batch in _batches(path, columns, "id_column"))
            for batch in _batches(path, columns, "vector_column"):
                if len(batch):
                    vectors = vectors_from_arrow(*_column(batch.slice(0, 1), columns, "vector_column", path))
                    return Look(vectors.shape[1], even_parts(path, count, rows), has_ids=True)
            return Look(0, [], has_ids=True)

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Yields ids and vectors."""
        path, end, row = Path(part.path), part.first_row + part.num_rows, 0
        with reading(path, "Arrow"):
            for batch in _batches(path, columns, "id_column", "vector_column"):
                first, after = max(part.first_row - row, 0), min(end - row, len(batch))
                for start in range(first, after, rows):
                    some, number = batch.slice(start, min(rows, after - start)), row + start
                    ids = plain_ids(*_column(some, columns, "id_column", path), first_row=number)
                    yield ids, vectors_from_arrow(*_column(some, columns, "vector_column", path), first_row=number)
                row += len(batch)
                if row >= end:
                    return


def _batches(path: Path, columns: Columns, *settings: str) -> Iterator[pa.RecordBatch]:
    """Yields all batches with some of the columns, memory-mapped where they are not compressed."""
    with path.open("rb") as file:
        open_reader = pa.ipc.open_file if file.read(len(_MAGIC)) == _MAGIC else pa.ipc.open_stream
    with pa.memory_map(str(path)) as source:
        names = open_reader(source).schema.names
        chosen = [names.index(columns.find(setting, names, path)) for setting in settings]
        source.seek(0)
        reader = open_reader(source, options=pa.ipc.IpcReadOptions(included_fields=chosen, use_threads=False))
        if open_reader is pa.ipc.open_stream:
            yield from reader
        else:
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))


def _column(batch: pa.RecordBatch, columns: Columns, setting: str, path: Path) -> tuple[pa.ChunkedArray, str]:
    """Returns a column whose offsets have been seen to stay within it, and what an error calls it."""
    name = columns.find(setting, batch.schema.names, path)
    column = batch.column(batch.schema.names.index(name))
    column.validate(full=True)
    return pa.chunked_array([column]), f"{path}: column {name!r}"
