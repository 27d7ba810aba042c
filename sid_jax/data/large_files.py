"""Many files, or files larger than memory, as one set of vectors: in memory if they fit, else mapped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from sid_jax.cache import cache_folder
from sid_jax.data.checks import check_finite, check_unique
from sid_jax.data.npy_file import open_npy
from sid_jax.data.parts.vector_parts import VectorParts
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError

_ROWS_A_BLOCK = 8192


def size_in_memory(parts: VectorParts) -> int:
    """Returns the bytes of all vectors as float32."""
    return 4 * parts.num_items * parts.num_features


def read_parts(parts: VectorParts, source: str, *, resident_bytes: int | None, cache_dir: str) -> VectorSet:
    """Reads all parts.

    Vectors that are larger than `resident_bytes` are written once into `vectors` in the cache folder, as one .npy of
    float32, which random access needs, and stay there for the next start.

    Args:
      parts: where they are.
      source: what the set is called.
      resident_bytes: the most that memory is to hold; None for all.
      cache_dir: as of `cache_folder`.

    Raises:
      UserError: if a file cannot be read, two ids are the same, or a value is not finite.
    """
    if resident_bytes is None or size_in_memory(parts) <= resident_bytes:
        vectors = np.empty((parts.num_items, parts.num_features), np.float32)
        ids = _fill(parts, vectors)
    else:
        path = cache_folder(cache_dir) / "vectors" / f"{_name(parts)}.npy"
        ids = _ids(parts) if path.exists() else _write(parts, path)
        vectors = np.asarray(open_npy(path))
    check_unique(ids, source)
    return VectorSet(ids=ids, vectors=vectors, source=source)


def _fill(parts: VectorParts, vectors: np.ndarray) -> np.ndarray:
    found, row = [], 0
    for ids, block in _checked(parts):
        vectors[row : row + len(block)] = block
        found.append(ids)
        row += len(block)
    return _joined(found)


def _write(parts: VectorParts, path: Path) -> np.ndarray:
    """Writes the file, whole or not at all, and returns the ids."""
    # Several processes of one run may come here at the same time.
    found, partial = [], path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (parts.num_items, parts.num_features)}
            np.lib.format.write_array_header_1_0(file, header)
            for ids, block in _checked(parts):
                file.write(np.ascontiguousarray(block, "<f4").data)
                found.append(ids)
        partial.rename(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); {size_in_memory(parts) / 1e9:.1f} GB of vectors go there, "
            "as they are more than config.train.resident_bytes: make room, or name another config.data.cache_dir"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return _joined(found)


def _ids(parts: VectorParts) -> np.ndarray:
    if parts.ids_are_row_numbers:
        return np.arange(parts.num_items)
    return _joined([ids for number in range(len(parts.parts)) for ids, _ in parts.blocks(number, _ROWS_A_BLOCK)])


def _checked(parts: VectorParts) -> Iterator[tuple[pa.Array, np.ndarray]]:
    for number, part in enumerate(parts.parts):
        row = part.first_row
        for ids, vectors in parts.blocks(number, _ROWS_A_BLOCK):
            check_finite(vectors, np.asarray(ids), part.path, first_row=row)
            yield ids, vectors
            row += len(vectors)


def _joined(found: list[pa.Array]) -> np.ndarray:
    kinds = sorted({str(each.type) for each in found})
    if len(kinds) > 1:
        raise UserError(f"ids of some files are {kinds[0]}, of others {kinds[1]}: give all of them one type")
    ids = pa.chunked_array(found)
    return ids.to_numpy() if pa.types.is_integer(ids.type) else np.array(ids.to_pylist(), dtype=object)


def _name(parts: VectorParts) -> str:
    """Returns a name that is another one as soon as a file has changed."""
    files = {part.path: Path(part.path).stat() for part in parts.parts}
    about = [[str(Path(path).resolve()), each.st_size, each.st_mtime_ns] for path, each in files.items()]
    return hashlib.sha256(json.dumps([about, parts.columns.vector_column]).encode()).hexdigest()[:32]
