"""Going through an array that may lie in a file, and be larger than memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

_ROWS = 16_384
# Rows taken together from all over a file: with each, the system maps some 64 KiB of what lies about it.
_SCATTERED_ROWS = 1024


def in_blocks(array: np.ndarray, rows: int = _ROWS) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the rows of `[N, ...]` so many at a time, each block with the number of its first row."""
    for first in range(0, len(array), rows):
        yield first, array[first : first + rows]
        forget_pages(array)


def take_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the rows `[M]` of `[N, ...]`, in their order, read from the file's beginning to its end."""
    taken = np.empty((len(rows), *array.shape[1:]), array.dtype)
    order = np.argsort(rows, kind="stable")
    for first in range(0, len(order), _SCATTERED_ROWS):
        some = order[first : first + _SCATTERED_ROWS]
        taken[some] = array[rows[some]]
        forget_pages(array)
    return taken


def forget_pages(array: np.ndarray) -> None:
    """Gives back the memory that was taken by what has been read of a mapped file; nothing for another array.

    Pages that were looked at count as the process's memory for as long as the file is mapped. What is needed again
    comes from the system's cache.
    """
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)
