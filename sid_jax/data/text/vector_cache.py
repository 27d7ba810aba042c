"""Vectors of texts that were encoded before, in files that are whole or absent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_DIGEST_BYTES = 20
_ROWS = 8192


class VectorCache:
    """The vectors of one encoder: parquet files of text digests and vectors, in a folder of their own.

    Every call of `add` writes one more file, under a temporary name first, so that a reader sees it whole or not at
    all, whoever else writes or is killed; two processes that encode the same text keep it twice. A file that cannot be
    read counts as absent. Over `max_bytes` or `max_files` in all encoders' folders together, the files go first that
    were not used for the longest time.

    Args:
      root: the folder of all encoders.
      identity: what the vectors depend on besides the text.
      max_bytes, max_files: the most that is kept.
    """

    def __init__(self, root: Path, identity: str, *, max_bytes: int = 2**33, max_files: int = 4096):
        self._root = root
        self._folder = root / hashlib.sha256(identity.encode()).hexdigest()[:32]
        self._max_bytes, self._max_files = max_bytes, max_files

    def find(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns `[n]` bool, which texts are known, and their vectors `[n, D]` float32; None if none is known.

        Args:
          texts: no two alike.
        """
        rows = {_digest(text): row for row, text in enumerate(texts)}
        known, vectors = np.zeros(len(texts), bool), None
        for path in sorted(self._folder.glob("[!.]*.parquet")):
            with contextlib.suppress(OSError, pa.ArrowException, ValueError, KeyError):
                for found, block in _read(path, rows):
                    if vectors is None:
                        vectors = np.zeros((len(texts), block.shape[1]), np.float32)
                    vectors[found] = block
                    known[found] = True
                    os.utime(path)
        return known, vectors

    def add(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Keeps `[n, D]` float32 vectors.

        Raises:
          OSError: if they cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{uuid.uuid4().hex}.parquet"
        partial = self._folder / f".{name}.{platform.node()}.{os.getpid()}"
        columns = {
            "digest": pa.array(map(_digest, texts), pa.binary(_DIGEST_BYTES)),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
        }
        try:
            pq.write_table(pa.table(columns), partial, compression="none", write_page_checksum=True)
            partial.rename(self._folder / name)
        finally:
            partial.unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        """Removes what is over the bounds, and what a killed writer left long ago."""
        files = []
        for path in self._root.glob("*/*"):
            with contextlib.suppress(OSError):  # Another process may have removed it.
                files.append((path.stat().st_mtime, path.stat().st_size, path))
        files.sort(reverse=True)
        total = 0
        newest = files[0][0] if files else 0.0
        for place, (time, size, path) in enumerate(files):
            total += size
            stale = path.name.startswith(".") and newest - time > 86_400
            if total > self._max_bytes or place >= self._max_files or stale:
                path.unlink(missing_ok=True)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()


def _read(path: Path, rows: dict[bytes, int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields, block by block, the rows that are wanted and their vectors."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(_ROWS):
            places = np.array([rows.get(digest, -1) for digest in batch.column("digest").to_pylist()])
            wanted = np.flatnonzero(places >= 0)
            if len(wanted):
                vectors = batch.column("vector")
                block = vectors.flatten().to_numpy().reshape(len(batch), vectors.type.list_size)
                yield places[wanted], block[wanted]
