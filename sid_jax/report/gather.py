"""Reads the data of a report from an export's folder, with memory that does not grow with the number of items."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.distinct import distinct
from sid_jax.errors import UserError, reason
from sid_jax.export.artifact import table_files
from sid_jax.export.codebooks import read_codebooks
from sid_jax.export.manifest import read_manifest, read_measured
from sid_jax.metrics.codes import groups_of_hashes, row_hashes

_ROWS_A_BATCH = 65_536
# Maximum number of items for which all code tuples are counted. For larger catalogs, only a sample of the code tuples,
# drawn by hash, is counted, and the report says so.
_MOST_TUPLES = 1_000_000
# Maximum number of possible pairs of first and second code. If more pairs are possible, only first codes are counted.
_MOST_PAIRS = 2**17


@dataclasses.dataclass(frozen=True)
class Gathered:
    """Counts and metrics of an export of N items and L levels.

    Attributes:
      folder: the export's folder.
      manifest: content of `manifest.json`.
      measured: content of `report.json`; empty if the export has none.
      codebooks: L codebooks `[K, Z]`.
      level_counts: for each level, the number of items with each code, `[K]`.
      prefix_counts: number of items for each prefix of one or two codes of the Semantic IDs: `{(12,): 40, (12, 4): 3}`.
        Prefixes of two codes are missing if too many are possible.
      tuple_rows: at most 50 groups of items with the same code tuple, the largest first. Each has its size and the row
        numbers of at most 20 of its items.
      tuple_sizes: number of code tuples with 1, 2, 3, … items: `{1: 900, 2: 30}`.
      tuples_seen: n if one in n code tuples was counted for `tuple_rows` and `tuple_sizes`.
    """

    folder: Path
    manifest: dict[str, Any]
    measured: dict[str, Any]
    codebooks: list[np.ndarray]
    level_counts: list[np.ndarray]
    prefix_counts: dict[tuple[int, ...], int]
    tuple_rows: list[tuple[int, np.ndarray]]
    tuple_sizes: dict[int, int]
    tuples_seen: int

    @property
    def num_items(self) -> int:
        """The number N of items."""
        return int(self.level_counts[0].sum())


def gather(folder: Path) -> Gathered:
    """Reads an export's folder, and counts its codes, prefixes and tuples.

    Raises:
      UserError: if the folder is not a finished export, or one of its files cannot be read.
    """
    manifest = read_manifest(folder)
    codebooks = read_codebooks(folder)[0]
    try:
        sizes, id_sizes = manifest["metrics"]["codebook_size"], manifest["semantic_ids"]["sizes"]
        counts = _count(folder, sizes, id_sizes)
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise UserError(f"the ID table in {folder} cannot be read: {reason(error)}; export again") from error
    return Gathered(folder, manifest, read_measured(folder), codebooks, *counts)


def _count(folder: Path, sizes: Sequence[int], id_sizes: Sequence[int]) -> tuple[Any, ...]:
    one_in = -(-sum(pq.read_metadata(path).num_rows for path in table_files(folder)) // _MOST_TUPLES)
    levels = [np.zeros(size, np.int64) for size in sizes]
    depth = 2 if len(id_sizes) > 1 and id_sizes[0] * id_sizes[1] <= _MOST_PAIRS else 1
    pairs = np.zeros(id_sizes[:depth], np.int64)
    rows, hashes = [], []
    for first, codes, semantic_ids in _batches(folder):
        for count, column in zip(levels, codes.T, strict=True):
            count += np.bincount(column, minlength=len(count))
        np.add.at(pairs, tuple(semantic_ids[:, :depth].T), 1)
        hashed = row_hashes(np.ascontiguousarray(codes, dtype=np.int32))
        kept = np.flatnonzero(hashed % np.uint64(one_in) == 0)
        rows.append(first + kept)
        hashes.append(hashed[kept])
    (counted, groups), seen = groups_of_hashes(np.concatenate(hashes)), np.concatenate(rows)
    tuple_rows = [(size, seen[chosen]) for size, chosen in groups]
    tuple_sizes = dict(zip(*(each.tolist() for each in np.unique(counted, return_counts=True)), strict=True))
    return levels, _prefix_counts(pairs), tuple_rows, tuple_sizes, one_in


def _prefix_counts(pairs: np.ndarray) -> dict[tuple[int, ...], int]:
    counted: dict[tuple[int, ...], int] = {}
    while pairs.ndim:
        places = np.argwhere(pairs)
        counted |= dict(zip(map(tuple, places.tolist()), pairs[tuple(places.T)].tolist(), strict=True))
        pairs = pairs.sum(axis=-1)
    return counted


def _batches(folder: Path) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields batches of codes `[n, L]` and Semantic IDs `[n, L']`, each with the number of its first row.

    L' includes the suffix, if there is one.
    """
    first = 0
    for path in table_files(folder):
        for batch in pq.ParquetFile(path).iter_batches(_ROWS_A_BATCH, columns=["codes", "semantic_id"]):
            if batch.num_rows:
                yield first, matrix(batch["codes"]), matrix(batch["semantic_id"])
                first += batch.num_rows


def matrix(lists: pa.Array) -> np.ndarray:
    """Converts lists of equal length to an array `[n, L]`."""
    return lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), -1)


def read_rows(gathered: Gathered, rows: np.ndarray) -> pa.Table:
    """Returns the given rows of the ID table, each once and in ascending order, without the column `sid`."""
    rows, pieces, first = distinct(rows), [], 0
    for path in table_files(gathered.folder):
        file = pq.ParquetFile(path)
        names = [name for name in file.schema_arrow.names if name != "sid"]
        for batch in file.iter_batches(_ROWS_A_BATCH, columns=names):
            here = rows[(rows >= first) & (rows < first + batch.num_rows)] - first
            pieces.append(pa.Table.from_batches([batch]).take(pa.array(here)))
            first += batch.num_rows
    return pa.concat_tables(pieces)
