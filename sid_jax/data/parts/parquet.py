"""Parts of parquet files: whole row groups."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.data.arrow_columns import plain_ids, vectors_from_arrow
from sid_jax.data.parts.part import Columns, Part
from sid_jax.data.reason import reason
from sid_jax.errors import UserError


class Parquet:
    """A table with a column of ids and one of vectors, lists or fixed-size lists."""

    has_ids = True

    def look(self, path: Path, columns: Columns, rows: int) -> tuple[int, list[Part]]:
        """Returns D and the parts."""
        with _reading(path), pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for setting in ("id_column", "vector_column"):
                name = getattr(columns, setting)
                if name not in names:
                    raise UserError(
                        f"{path}: no column {name!r}; set --config.data.{setting} to one of {', '.join(names)}"
                    )
            counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            head = next(file.iter_batches(1, columns=[columns.vector_column]), None)
        if head is None:
            return 0, []
        where = f"{path}: column {columns.vector_column!r}"
        return vectors_from_arrow(pa.chunked_array([head.column(0)]), where).shape[1], _parts(path, counts, rows)

    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Yields ids and vectors."""
        start, names = part.first_row, [columns.id_column, columns.vector_column]
        # Page by page, since a row group may be large.
        with _reading(Path(part.path)), pq.ParquetFile(part.path, buffer_size=2**20, pre_buffer=False) as file:
            groups = list(range(*part.row_groups))
            for batch in file.iter_batches(rows, row_groups=groups, columns=names, use_threads=False):
                table = pa.Table.from_batches([batch])
                ids, vectors = (f"{part.path}: column {name!r}" for name in names)
                yield (
                    plain_ids(table[names[0]], ids, first_row=start).combine_chunks(),
                    vectors_from_arrow(table[names[1]], vectors, first_row=start),
                )
                start += len(batch)

    def rows(self, part: Part, columns: Columns, wanted: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yields chosen vectors; all are read."""
        start = 0
        for _, vectors in self.blocks(part, columns, rows):
            first, end = np.searchsorted(wanted, [start, start + len(vectors)])
            if end > first:
                yield vectors[wanted[first:end] - start]
            start += len(vectors)


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


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable .parquet file ({reason(error)}); write it anew") from error
