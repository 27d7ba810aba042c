"""The prefix trie of an ID table as a file: plain NumPy arrays, for constrained decoding in any framework."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sid_jax.data.reason import reason
from sid_jax.errors import UserError
from sid_jax.ids.convert import code_type
from sid_jax.ids.trie import Trie, build_trie, trie_of_arrays

TRIE_FILE = "trie.npz"


def write_trie(folder: Path, semantic_ids: np.ndarray, sizes: Sequence[int]) -> None:
    """Writes `trie.npz`; the same IDs give the same bytes.

    Args:
      folder: where to; it exists.
      semantic_ids: `[N, L]` integers, of whatever scheme; several items may share one.
      sizes: K of each of the L levels.

    Raises:
      ValueError: as `sid_jax.ids.trie.build_trie`.
    """
    trie = build_trie(semantic_ids, sizes)
    arrays: dict[str, Any] = {f"first_child_{level}": np.asarray(first) for level, first in enumerate(trie.first_child)}
    arrays |= {
        f"codes_{level}": np.asarray(codes).astype(code_type(trie.sizes[level : level + 1]))
        for level, codes in enumerate(trie.codes)
    }
    arrays |= {"first_item": np.asarray(trie.first_item), "items": np.asarray(trie.items)}
    np.savez(folder / TRIE_FILE, sizes=np.array(trie.sizes, np.int32), **arrays)


def read_trie(path: str | Path) -> Trie:
    """Reads what `write_trie` wrote.

    Raises:
      UserError: if the file is missing, holds anything pickled, or is not the trie of an ID table.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the {TRIE_FILE} of an export")
    try:
        with np.load(path, allow_pickle=False) as file:
            sizes = _integers(file, "sizes")
            first_child, codes = (
                [_integers(file, f"{name}_{level}") for level in range(len(sizes))] for name in ("first_child", "codes")
            )
            first_item, items = (_integers(file, name) for name in ("first_item", "items"))
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable trie ({reason(error)}); export again") from error
    try:
        return trie_of_arrays(first_child, codes, first_item, items, sizes.tolist())
    except ValueError as error:
        raise UserError(f"{path}: not the trie of an ID table ({error}); export again") from error


def _integers(file: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    array = file[name]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, not whole numbers [n]")
    return array
