"""Reads vectors from table files: Parquet, and Arrow, such as Feather files and files of Hugging Face's `datasets`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.buckets.place import File
from sid_jax.data.arrow_columns import plain_ids, usual_length, vectors_from_arrow
from sid_jax.data.parts.part import Columns, Kind, Look, Part, even_parts, file_of, opened, reading
from sid_jax.errors import UserError

# The first bytes of an Arrow file for random access; a stream begins with other bytes.
_MAGIC = b"ARROW1"
# Number of rows that are inspected at once to find D, the most frequent length of their vectors.
_LOOKED_AT = 64


class Parquet(Kind):
    """Reads Parquet tables with a column of vectors (lists or fixed-size lists) and, optionally, a column of ids."""

    def look(self, path: File, columns: Columns, rows: int) -> Look:
        """Inspects the file, which may lie in a bucket."""
        with reading(path, ".parquet"), _opened(path) as file:
            ids, name = _names(file, columns, path)
            counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            heads = file.iter_batches(_LOOKED_AT, columns=[name], use_threads=False)
            head = ([each.column(0)] for each in heads)
            num_features = _num_features(map(pa.chunked_array, head), f"{path}: column {name!r}")
            parts = _row_groups(path, counts, rows, num_features) if num_features else []
            return Look(num_features, parts, has_ids=ids is not None)

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[pa.Array | None, np.ndarray]]:
        """Yields ids and vectors."""
        path, start = file_of(part.path), part.first_row
        with reading(path, ".parquet"), _opened(path) as file:
            id_name, name = _names(file, columns, path)
            groups, names = list(range(*part.row_groups)), [each for each in (id_name, name) if each is not None]
            for batch in file.iter_batches(rows, row_groups=groups, columns=names, use_threads=False):
                table = pa.Table.from_batches([batch])
                ids = plain_ids(table[id_name], f"{path}: column {id_name!r}", first_row=start) if id_name else None
                where = f"{path}: column {name!r}"
                yield ids, vectors_from_arrow(table[name], where, first_row=start, num_features=part.num_features)
                start += len(batch)


@contextlib.contextmanager
def _opened(path: File) -> Iterator[pq.ParquetFile]:
    with opened(path) as source:
        # The file is read one Parquet page at a time, since a row group may be large.
        yield pq.ParquetFile(source, buffer_size=2**20, pre_buffer=False, page_checksum_verification=True)


def _names(file: pq.ParquetFile, columns: Columns, path: File) -> tuple[str | None, str]:
    names = file.schema_arrow.names
    return columns.find_ids(names, path), columns.find("vector_column", names, path)


def _num_features(batches: Iterable[pa.ChunkedArray], where: str) -> int:
    """Returns the most frequent vector length in the first batch that has a vector; 0 if there are no rows.

    Raises:
      UserError: if there are rows, but no vector.
    """
    num_rows = 0
    for batch in batches:
        num_features = usual_length(batch, where)
        if num_features:
            return num_features
        num_rows += len(batch)
    if num_rows:
        raise UserError(
            f"{where}: none of the {num_rows:,} rows has a vector; check that this is the column of vectors"
        )
    return 0


def _row_groups(path: File, counts: list[int], rows: int, num_features: int) -> list[Part]:
    parts, group, row = [], 0, 0
    while group < len(counts):
        end, count = group + 1, counts[group]
        while end < len(counts) and count + counts[end] <= rows:
            count += counts[end]
            end += 1
        if count:
            parts.append(Part(str(path), row, count, row_groups=(group, end), num_features=num_features))
        group, row = end, row + count
    return parts


class Arrow(Kind):
    """Reads Arrow files and streams: tables with a column of vectors (lists) and, optionally, a column of ids."""

    def look(self, path: Path, columns: Columns, rows: int) -> Look:
        """Inspects the file."""
        with reading(path, "Arrow"):
            id_name, name = _arrow_names(path, columns)
            # If there is a column of ids, the rows are counted in this column. To count them in a compressed column of
            # vectors, the column would have to be decompressed.
            count = sum(len(batch) for batch in _batches(path, id_name or name))
            heads = (_column(each.slice(0, _LOOKED_AT), name, path)[0] for each in _batches(path, name))
            num_features = _num_features(heads, f"{path}: column {name!r}")
            parts = even_parts(path, count, rows, num_features) if num_features else []
            return Look(num_features, parts, has_ids=id_name is not None)

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[pa.Array | None, np.ndarray]]:
        """Yields ids and vectors."""
        path, end, row = Path(part.path), part.first_row + part.num_rows, 0
        with reading(path, "Arrow"):
            id_name, name = _arrow_names(path, columns)
            for batch in _batches(path, *(each for each in (id_name, name) if each is not None)):
                first, after = max(part.first_row - row, 0), min(end - row, len(batch))
                for start in range(first, after, rows):
                    some, number = batch.slice(start, min(rows, after - start)), row + start
                    ids = plain_ids(*_column(some, id_name, path), first_row=number) if id_name else None
                    vectors, where = _column(some, name, path)
                    yield ids, vectors_from_arrow(vectors, where, first_row=number, num_features=part.num_features)
                row += len(batch)
                if row >= end:
                    return


def _arrow_names(path: Path, columns: Columns) -> tuple[str | None, str]:
    with pa.memory_map(str(path)) as source:
        names = arrow_opener(path)(source).schema.names
    return columns.find_ids(names, path), columns.find("vector_column", names, path)


def arrow_opener(path: Path) -> Callable[..., Any]:
    """Returns the function that opens an Arrow file: for random access, or as a stream."""
    with path.open("rb") as file:
        return pa.ipc.open_file if file.read(len(_MAGIC)) == _MAGIC else pa.ipc.open_stream


def _batches(path: Path, *wanted: str) -> Iterator[pa.RecordBatch]:
    """Yields all batches of a file, memory-mapped unless compressed, with only the columns `wanted`."""
    open_reader = arrow_opener(path)
    with pa.memory_map(str(path)) as source:
        names = open_reader(source).schema.names
        chosen = [names.index(name) for name in wanted]
        source.seek(0)
        reader = open_reader(source, options=pa.ipc.IpcReadOptions(included_fields=chosen, use_threads=False))
        if open_reader is pa.ipc.open_stream:
            yield from reader
        else:
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))


def _column(batch: pa.RecordBatch, name: str, path: Path) -> tuple[pa.ChunkedArray, str]:
    """Validates a column (offsets within bounds), and returns the column and a description of it for error messages."""
    column = batch.column(batch.schema.names.index(name))
    column.validate(full=True)
    return pa.chunked_array([column]), f"{path}: column {name!r}"
