"""Parts of parquet files: whole row groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.data.arrow_columns import plain_ids, vectors_from_arrow
from sid_jax.data.parts.part import Columns, Kind, Look, Part, reading


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
            return Look(vectors.shape[1], _parts(path, counts, rows), has_ids=True)

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


def _parts(path: Path, counts: list[int], rows: int) -> list[Part]:
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
