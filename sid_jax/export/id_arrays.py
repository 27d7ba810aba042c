"""Reads Semantic IDs from files of arrays: .npy, .npz, .pt, and xLLM's records."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from sid_jax.data.numbered import ids_of_numbers, ids_of_rows, list_beside, read_list
from sid_jax.data.parts.arrays import open_npy
from sid_jax.data.parts.part import DAMAGED_NPZ, reading
from sid_jax.data.parts.torch_tensors import open_tensor
from sid_jax.errors import UserError
from sid_jax.messages import LOGGER

# Name of the file that lists the first token id of each level. It is in the same folder as the file of the token ids;
# see `sid_jax.formats`.
VOCABULARY_FILE = "vocabulary.json"
# Maximum number of codes per ID. An array with more columns has the shape [L, N], or does not contain Semantic IDs.
_MOST_LEVELS = 256
# A record of xLLM's files.
_RECORD = np.dtype([("item", "<i8"), ("tokens", "<i4", (3,))])

# What a reader returns: item ids, codes that are not yet checked, and titles.
Content = tuple[np.ndarray, np.ndarray, pa.ChunkedArray | None]


def read_npy(path: Path) -> Content:
    """Reads integers `[N, L]`, or, if N is above 256, also `[L, N]`; see `ids_of_rows` for the item ids."""
    codes = open_npy(path)
    if codes.ndim != 2 or codes.dtype.kind not in "iu":
        raise UserError(f"{path}: expected whole numbers [N, L], found {codes.dtype} {list(codes.shape)}")
    if codes.shape[1] > _MOST_LEVELS >= len(codes):
        LOGGER.warning(
            "%s: read as the transposed array [L, N] instead of [N, L]: %d items of %d codes", path, *codes.shape[::-1]
        )
        codes = codes.T
    check_lengths(np.full(len(codes), codes.shape[1]), np.arange(len(codes)), path)
    return ids_of_rows(path, len(codes)), codes, None


def read_xllm(path: Path) -> Content:
    """Reads xLLM's records: an item's number as int64, then three token ids as int32."""
    if not path.stat().st_size:
        raise UserError(f"{path}: has no items; give at least one")
    if path.stat().st_size % _RECORD.itemsize:
        raise UserError(
            f"{path}: its size of {path.stat().st_size} bytes is not a multiple of {_RECORD.itemsize}, the size of a "
            "record (an int64 item and three int32 token ids); write the file again"
        )
    records = np.fromfile(path, _RECORD)
    codes = without_offsets(path, records["tokens"].astype(np.int64))
    return ids_of_numbers(path, records["item"].astype(np.int64)), codes, None


def read_npz(path: Path) -> Content:
    """Reads the Semantic IDs and item numbers in a `static_index.npz`, which also has the arrays of STATIC's index."""
    # `ZipFile` rejects a file that is not an archive. NumPy would report such a file as a pickle.
    with reading(path, ".npz", *DAMAGED_NPZ), zipfile.ZipFile(path), np.load(path, allow_pickle=False) as arrays:
        names = ("semantic_ids", "item_numbers")
        if not set(names) <= set(arrays.files):
            raise ValueError(f"it must have {' and '.join(names)}, but has {', '.join(arrays.files)}")
        codes, numbers = (arrays[name] for name in names)
        # If an entry of the zip file does not begin with the signature of an array, NumPy returns its bytes.
        if not isinstance(codes, np.ndarray) or not isinstance(numbers, np.ndarray):
            raise ValueError(f"{' or '.join(names)} is not an array")
    if codes.ndim != 2 or {codes.dtype.kind, numbers.dtype.kind} - set("iu") or numbers.shape != codes.shape[:1]:
        raise UserError(
            f"{path}: expected whole numbers, semantic_ids [N, L] and item_numbers [N]; write the file again"
        )
    check_lengths(np.full(len(codes), codes.shape[1]), numbers, path)
    order = np.argsort(numbers, kind="stable")
    return ids_of_numbers(path, numbers[order].astype(np.int64)), codes[order], None


def read_pt(path: Path) -> Content:
    """Reads an integer tensor, either `[N, L]` or, as GRID and NVIDIA recsys-examples write it, `[L, N]`."""
    name, codes = open_tensor(path)
    if codes.ndim != 2 or codes.dtype.kind not in "iu":
        raise UserError(
            f"{path}: expected a tensor of whole numbers, [L, N] or [N, L], found {codes.dtype} {list(codes.shape)}"
        )
    file = list_beside(path)
    num_ids = None if file is None else len(read_list(file)[0])
    rows, columns = codes.shape
    if num_ids is not None and (rows == num_ids) != (columns == num_ids):
        levels_first = columns == num_ids
    else:
        # RecTokens, which names its tensor "codes", uses [N, L]. Any other tensor is [L, N], unless it has more rows
        # than columns, and more than one column.
        levels_first = name != "codes" and (rows <= columns or columns == 1)
    codes = codes.T if levels_first else codes
    check_lengths(np.full(len(codes), codes.shape[1]), np.arange(len(codes)), path)
    return ids_of_rows(path, len(codes)), np.array(codes), None


def without_offsets(path: Path, token_ids: np.ndarray) -> np.ndarray:
    """Returns the codes `[N, L]` of token ids, or the token ids themselves if the folder has no vocabulary file."""
    file = path.with_name(VOCABULARY_FILE)
    if not file.is_file():
        return token_ids
    with reading(file, ".json"):
        offsets = json.loads(file.read_text(encoding="utf-8"))["offsets"]
        if len(offsets) != token_ids.shape[1] or not all(type(each) is int for each in offsets):
            raise ValueError(f"it does not have one offset for each of {token_ids.shape[1]} levels")
    return token_ids - np.array(offsets, token_ids.dtype)


def check_lengths(lengths: np.ndarray, item_ids: np.ndarray, path: Path) -> None:
    """Raises a UserError unless the lengths `[N]` of the items' IDs are all equal, and are from 1 to 256 codes."""
    if not len(lengths):
        raise UserError(f"{path}: has no items; give at least one")
    uneven = np.flatnonzero(lengths != lengths[0])
    if len(uneven):
        one, other = item_ids[[0, uneven[0]]].tolist()
        raise UserError(
            f"{path}: item {one!r} has {lengths[0]} codes, but item {other!r} has {lengths[uneven[0]]}; decoders need "
            "IDs of equal length, so give all items the same number of codes"
        )
    if not 0 < lengths[0] <= _MOST_LEVELS:
        number = f"{lengths[0]:,}" if lengths[0] else "no"
        raise UserError(f"{path}: the Semantic IDs have {number} codes; give each item 1 to {_MOST_LEVELS} codes")
