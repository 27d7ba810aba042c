"""Texts into vectors: one function, whichever encoder is behind it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sid_jax.cache import cache_folder
from sid_jax.data.reason import reason
from sid_jax.data.text.encoders import Encode, Encoder, find_encoder
from sid_jax.data.text.template import clean
from sid_jax.data.text.vector_cache import VectorCache
from sid_jax.errors import UserError

# Texts in one call of the encoder, and how many are encoded before their vectors are kept.
_BATCH = 512
_KEPT_TOGETHER = 8192


def encode_texts(
    texts: Sequence[str], encoder: str | Encode = "wordllama", *, cache_dir: str | None = None
) -> np.ndarray:
    """Returns `[N, D]` float32 vectors, not normalized: scaling belongs to the model.

    A text that occurs more than once is encoded once. A bar shows how far it is, on a terminal.

    Args:
      texts: N texts, of any length; U+FFFD takes the place of a lone surrogate.
      encoder: "wordllama" (D = 256; in its package, so that nothing is downloaded), or as `find_encoder` takes it.
      cache_dir: where vectors are kept and looked for, in `text` below it; "" for the usual cache folder, as of
        `cache_folder`; None to keep nothing.

    Raises:
      UserError: if there is no such encoder, or it returns something else than a finite array `[n, D]`.
    """
    unique = list(dict.fromkeys(map(clean, texts)))
    if not unique:
        raise UserError("there are no texts to encode; give at least one")
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
    """Returns `[N, D]` vectors with the rows `missing` filled in, and has the cache keep them as they come."""
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
    except Exception as error:  # Whatever somebody's function, or a model, raises.
        raise UserError(
            f"data.text_encoder={name} failed on {len(texts)} texts ({type(error).__name__}: {reason(error)}); it must "
            "take a list of texts and return an array [n, D]"
        ) from error


def _checked(name: str, texts: list[str], result: Any, size: int | None) -> np.ndarray:
    """Returns what an encoder returned as `[n, D]` float32, where D is `size` unless that is None."""
    where = f"data.text_encoder={name}"
    try:
        array = np.asarray(result)
    except Exception as error:
        raise UserError(f"{where} returned no array ({reason(error)}); it must return [n, D] numbers") from error
    if array.dtype.kind not in "fiu" and str(array.dtype) != "bfloat16":
        raise UserError(f"{where} returned {array.dtype}; it must return an array [n, D] of numbers")
    if array.ndim != 2 or len(array) != len(texts) or not array.shape[1]:
        raise UserError(f"{where} returned shape {list(array.shape)} for {len(texts)} texts; it must return [n, D]")
    if size is not None and array.shape[1] != size:
        raise UserError(f"{where} returned {array.shape[1]} features, and {size} for other texts; D must be the same")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise UserError(
            f"{where} returned NaN or infinite values for {len(bad)} of {len(texts)} texts, first for "
            f"{texts[bad[0]][:60]!r}"
        )
    return array


def _keep(cache: VectorCache, texts: list[str], vectors: np.ndarray) -> VectorCache | None:
    """Returns the cache, or None if it cannot keep anything: what is encoded is of use all the same."""
    try:
        cache.add(texts, vectors)
    except OSError as error:
        print(f"vectors of texts are not kept: {error.strerror or error}: {error.filename or ''}", file=sys.stderr)
        return None
    return cache


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, and nothing elsewhere; gives the function that moves it on."""
    console = Console(stderr=True)
    columns = (TextColumn("encoding texts"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)
