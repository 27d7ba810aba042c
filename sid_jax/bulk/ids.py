"""Checks that the item ids of a bulk export are distinct, by comparing their hashes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sid_jax.bulk.job import Job, read_columns
from sid_jax.errors import UserError
from sid_jax.ids.convert import mixed

# Approximate maximum number of hashes that are compared together.
_AT_ONCE = 2**22


def hash_ids(ids: pa.Array) -> np.ndarray:
    """Returns evenly distributed hashes `[n]` uint64 of ids, int64 or string; equal ids have equal hashes.

    Different integers always have different hashes. Two different strings have equal hashes with a probability below
    2^-50.
    """
    if pa.types.is_integer(ids.type):
        return mixed(ids.to_numpy().view(np.uint64))
    _, offset_bytes, text = ids.buffers()
    offsets = np.frombuffer(offset_bytes, np.int32)[ids.offset :][: len(ids) + 1].astype(np.int64)
    characters = np.frombuffer(text or b"", np.uint8)[offsets[0] : offsets[-1]].astype(np.uint64) + np.uint64(1)
    lengths = np.diff(offsets)
    place = np.arange(len(characters)) - np.repeat(offsets[:-1] - offsets[0], lengths)
    factors = np.random.default_rng(0).integers(0, 2**63, int(lengths.max(initial=0)) + 1, np.uint64)
    sums = np.concatenate([[np.uint64(0)], np.cumsum(characters * (factors * np.uint64(2) + np.uint64(1))[place])])
    ends = offsets - offsets[0]
    return mixed(sums[ends[1:]] - sums[ends[:-1]])


def id_ranges(num_items: int) -> list[tuple[int, int]]:
    """Divides all possible hashes into equal ranges; returns, for each range, its number and the number of ranges."""
    count = 1 << max(0, (num_items // _AT_ONCE).bit_length())
    return [(number, count) for number in range(count)]


def repeated_hashes(job: Job, piece: tuple[int, int]) -> np.ndarray:
    """Returns the hashes that several items have, within one of the ranges of `id_ranges`."""
    number, count = piece
    width = 2**64 // count
    found = []
    for part in range(len(job.inputs.parts)):
        hashes = np.load(job.file("id_hashes", part), mmap_mode="r")
        first = np.searchsorted(hashes, np.uint64(number * width))
        end = np.searchsorted(hashes, np.uint64((number + 1) * width - 1), "right")
        found.append(np.array(hashes[first:end]))
    hashes = np.sort(np.concatenate(found))
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def refuse_repeated_ids(job: Job, hashes: np.ndarray) -> None:
    """Raises UserError if two of the items with these hashes have the same id. Different ids may have equal hashes."""
    if not len(hashes):
        return
    seen: dict[object, int] = {}
    for number in range(len(job.inputs.parts)):
        table = read_columns(job.file("encoded", number))
        chosen = np.flatnonzero(np.isin(hash_ids(table["id"].combine_chunks()), hashes))
        for item, row in zip(
            table["id"].take(pa.array(chosen)).to_pylist(), table["row"].to_numpy()[chosen], strict=True
        ):
            place = job.inputs.row_number(number, int(row))
            if item in seen:
                one, other = sorted((seen[item], place))
                raise UserError(
                    f"id {item!r} is in row {one} and again in row {other} of --input (counted from 0 over all "
                    "files); give one row per item"
                )
            seen[item] = place
