"""Files of tables: parquet, and Arrow's own format as Feather and Hugging Face's `datasets` write it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.data.arrow_columns import plain_ids, vectors_from_arrow
from sid_jax.data.parts.part import Columns, Kind, Look, Part, even_parts, reading

# A file for random access begins with it; one that was written as a stream does not.
_MAGIC = b"ARROW1"


class Parquet(Kind):
    """A table with a column of ids and one of vectors, lists or fixed-size lists."""

    def look(self, path: Path, columns: Columns, rows: int) -> Look:
        """Returns what there is to know."""
        with reading(path, ".parquet"), _opened(path) as file:
            _, name = _names(file, columns, path)
            counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            head = next(file.iter_batches(1, columns=[name], use_threads=False), None)
            if head is None:
                return Look(0, [], has_ids=True)
            vectors = vectors_from_arrow(pa.chunked_array([head.column(0)]), f"{path}: column {name!r}")
            return Look(vectors.shape[1], _row_groups(path, counts, rows), has_ids=True)

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Yields ids and vectors."""
        path, start = Path(part.path), part.first_row
        with reading(path, ".parquet"), _opened(path) as file:
            names = _names(file, columns, path)
            ids, vectors = (f"{path}: column {name!r}" for name in names)
            groups = list(range(*part.row_groups))
            for batch in file.iter_batches(rows, row_groups=groups, columns=list(names), use_threads=False):
                table = pa.Table.from_batches([batch])
                yield (
                    plain_ids(table[names[0]], ids, first_row=start),
                    vectors_from_arrow(table[names[1]], vectors, first_row=start),
                )
                start += len(batch)


def _opened(path: Path) -> pq.ParquetFile:
    # Page by page, since a row group may be large.
    return pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False, page_checksum_verification=True)


def _names(file: pq.ParquetFile, columns: Columns, path: Path) -> tuple[str, str]:
    names = file.schema_arrow.names
    return columns.find("id_column", names, path), columns.find("vector_column", names, path)


def _row_groups(path: Path, counts: list[int], rows: int) -> list[Part]:
    parts, group, row = [], 0, 0
    while group < len(counts):
        end, count = group + 1, counts[group]
        while end < len(counts) and count + counts[end] <= rows:
            count += counts[end]
            end += 1
        if count:
            parts.append(Part(str(path), row, count, row_groups=(group, end)))
        group, row = end, row + count
    return parts


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
