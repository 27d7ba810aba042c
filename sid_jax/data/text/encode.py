"""Encodes texts as vectors with any encoder, and caches the vectors."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sid_jax.cache import cache_folder
from sid_jax.data.text.encoders import Encode, Encoder, find_encoder
from sid_jax.data.text.template import clean
from sid_jax.errors import UserError, reason
from sid_jax.messages import LOGGER

# Maximum number of texts per call of the encoder, and maximum number of texts per file of the cache.
_BATCH = 512
_KEPT_TOGETHER = 8192
# Length of a text's digest in the cache, and number of rows of a cache file that are read at a time.
_DIGEST_BYTES = 20
_ROWS = 8192
_SECONDS_A_DAY = 86_400


def encode_texts(
    texts: Sequence[str], encoder: str | Encode = "wordllama", *, cache_dir: str | None = None
) -> np.ndarray:
    """Returns the vectors of texts, `[N, D]` float32, as the encoder computes them.

    The vectors are not normalized here, since the quantizer scales its inputs. Equal texts are encoded once. On a
    terminal, a progress bar is shown.

    Args:
      texts: N texts, of any length; a lone surrogate is replaced by U+FFFD.
      encoder: "wordllama", or another encoder that `find_encoder` accepts. wordllama has D = 256. Its model is part of
        the Python package wordllama, so nothing is downloaded.
      cache_dir: a folder, in whose subfolder `text` the vectors are cached. "" for the default cache folder, see
        `cache_folder`; None for no cache.

    Raises:
      UserError: if there is no such encoder, or it does not return a finite array `[n, D]`.
    """
    unique = list(dict.fromkeys(map(clean, texts)))
    if not unique:
        raise UserError("there are no texts to encode; give at least one text")
    found = find_encoder(encoder)
    cache = None
    if cache_dir is not None and found.identity is not None:
        cache = VectorCache(cache_folder(cache_dir) / "text", found.identity)
    known, vectors = cache.find(unique) if cache else (np.zeros(len(unique), bool), None)
    missing = np.flatnonzero(~known)
    if len(missing):
        vectors = _encode_missing(found, unique, missing, vectors, cache)
    assert vectors is not None
    if len(unique) == len(texts):
        return vectors
    row_of = {text: row for row, text in enumerate(unique)}
    return vectors[[row_of[clean(text)] for text in texts]]


def _encode_missing(
    encoder: Encoder, texts: list[str], missing: np.ndarray, vectors: np.ndarray | None, cache: VectorCache | None
) -> np.ndarray:
    """Returns `[N, D]` vectors with the rows `missing` filled in; new vectors are cached as they are computed."""
    encode = encoder.load()
    with _progress(len(missing)) as advance:
        for start in range(0, len(missing), _KEPT_TOGETHER):
            rows = missing[start : start + _KEPT_TOGETHER]
            blocks = []
            for first in range(0, len(rows), _BATCH):
                batch = [texts[row] for row in rows[first : first + _BATCH]]
                size = None if vectors is None else vectors.shape[1]
                blocks.append(_checked(encoder.name, batch, _call(encoder.name, encode, batch), size))
                if vectors is None:
                    vectors = np.zeros((len(texts), blocks[-1].shape[1]), np.float32)
                advance(len(batch))
            assert vectors is not None
            vectors[rows] = np.concatenate(blocks)
            if cache:
                cache = _keep(cache, [texts[row] for row in rows], vectors[rows])
    assert vectors is not None
    return vectors


def _call(name: str, encode: Encode, texts: list[str]) -> Any:
    try:
        return encode(texts)
    except (UserError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # A user's function, or a model, may raise anything.
        raise UserError(
            f"config.data.text_encoder={name} failed on {len(texts)} texts ({type(error).__name__}: {reason(error)}); "
            "it must take a list of texts and return an array [n, D]"
        ) from error


def _checked(name: str, texts: list[str], result: Any, size: int | None) -> np.ndarray:
    """Returns an encoder's result as `[n, D]` float32, after checking it; D must be `size` unless `size` is None."""
    where = f"config.data.text_encoder={name}"
    try:
        array = np.asarray(result)
    except Exception as error:  # The result of a user's function may raise anything when it is converted.
        raise UserError(
            f"{where} returned a value that is not an array ({reason(error)}); it must return an array [n, D] of "
            "numbers"
        ) from error
    # The kind of bfloat16, which is not a type of NumPy's own, is "V".
    if array.dtype.kind not in "fiu" and str(array.dtype) != "bfloat16":
        raise UserError(f"{where} returned {array.dtype}; it must return an array [n, D] of numbers")
    if array.ndim != 2 or len(array) != len(texts) or not array.shape[1]:
        raise UserError(f"{where} returned shape {list(array.shape)} for {len(texts)} texts; it must be [n, D]")
    if size is not None and array.shape[1] != size:
        raise UserError(
            f"{where} returned {array.shape[1]} features for some texts and {size} for others; it must return the "
            "same number of features for all texts"
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise UserError(
            f"{where} returned NaN or infinite values for {len(bad)} of {len(texts)} texts (the first one is "
            f"{texts[bad[0]][:60]!r}); check these texts"
        )
    return array


def _keep(cache: VectorCache, texts: list[str], vectors: np.ndarray) -> VectorCache | None:
    """Adds vectors to the cache; returns the cache, or None (after a warning) if they cannot be written."""
    try:
        cache.add(texts, vectors)
    except OSError as error:
        LOGGER.warning(
            "text vectors cannot be cached, and will be computed again next time: %s: %s",
            error.strerror or error,
            error.filename or "",
        )
        return None
    return cache


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Shows a progress bar on a terminal, and nothing elsewhere; yields a function that advances the bar."""
    console = Console(stderr=True)
    columns = (TextColumn("encoding texts"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


class VectorCache:
    """The cached vectors of one encoder: parquet files of text digests and vectors in a folder.

    Every call of `add` writes one new file, atomically. Two processes that encode the same text cache it twice. A file
    that cannot be read is ignored. If the folders of all encoders together exceed `max_bytes` or `max_files`, the least
    recently used files are removed.

    Args:
      root: the folder in which each encoder has a subfolder.
      identity: everything that the vectors depend on, except the text.
      max_bytes, max_files: limits of all encoders' folders together.
    """

    def __init__(self, root: Path, identity: str, *, max_bytes: int = 2**33, max_files: int = 4096):
        self._root = root
        self._folder = root / hashlib.sha256(identity.encode()).hexdigest()[:32]
        self._max_bytes, self._max_files = max_bytes, max_files

    def find(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns a mask `[n]` bool of the cached texts, and vectors `[n, D]` float32 (None if no text is cached).

        The vector of a text that is not cached is 0.

        Args:
          texts: distinct texts.
        """
        rows = {_digest(text): row for row, text in enumerate(texts)}
        known, vectors = np.zeros(len(texts), bool), None
        for path in sorted(self._folder.glob("[!.]*.parquet")):
            with contextlib.suppress(OSError, pa.ArrowException, ValueError, KeyError):
                for found, block in _read_vectors(path, rows):
                    if vectors is None:
                        vectors = np.zeros((len(texts), block.shape[1]), np.float32)
                    vectors[found] = block
                    known[found] = True
                    # The modification time is the time of the last use: `_forget` removes the oldest files.
                    os.utime(path)
        return known, vectors

    def add(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Caches `[n, D]` float32 vectors.

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
        """Removes the least recently used files if limits are exceeded, and old temporary files of killed processes."""
        files = []
        for path in self._root.glob("*/*"):
            with contextlib.suppress(OSError):  # Another process may have removed the file.
                files.append((path.stat().st_mtime, path.stat().st_size, path))
        files.sort(reverse=True)
        total = 0
        newest = files[0][0] if files else 0.0
        for place, (time, size, path) in enumerate(files):
            total += size
            # Files are compared with the newest file, since the clock of a file server may differ from this machine's.
            stale = path.name.startswith(".") and newest - time > _SECONDS_A_DAY
            if total > self._max_bytes or place >= self._max_files or stale:
                path.unlink(missing_ok=True)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()


def _read_vectors(path: Path, rows: dict[bytes, int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields, block by block, the row numbers and the vectors of the wanted texts that a cache file contains.

    `rows` maps the digest of each wanted text to its row number.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(_ROWS):
            places = np.array([rows.get(digest, -1) for digest in batch.column("digest").to_pylist()])
            wanted = np.flatnonzero(places >= 0)
            if len(wanted):
                vectors = batch.column("vector")
                block = vectors.flatten().to_numpy().reshape(len(batch), vectors.type.list_size)
                yield places[wanted], block[wanted]
