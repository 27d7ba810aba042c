"""Iterates over arrays that may lie in a file and exceed memory, and checks that their values are finite."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

from sid_jax.data.layout import Layout
from sid_jax.errors import UserError, shown

_ROWS = 16_384
# Maximum number of scattered rows of a memory-mapped file that are read together. This number limits memory, since the
# operating system maps about 64 KiB for each row.
_SCATTERED_ROWS = 1024
# Two vectors have the same direction if each feature of their unit vectors differs by less than `_SAME_DIRECTION`, a
# few rounding errors of float32. Their lengths are the same if they differ by less than the relative tolerance
# `_SAME_LENGTH`.
_SAME_DIRECTION, _SAME_LENGTH = 1e-6, 1e-3


def in_blocks(array: np.ndarray, rows: int = _ROWS) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the rows of `[N, ...]` in blocks of `rows`, each with the number of its first row."""
    for first in range(0, len(array), rows):
        yield first, array[first : first + rows]
        forget_pages(array)


def take_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the given rows `[M]` of `[N, ...]`, in the given order; rows are read in file order."""
    taken = np.empty((len(rows), *array.shape[1:]), array.dtype)
    order = np.argsort(rows, kind="stable")
    for first in range(0, len(order), _SCATTERED_ROWS):
        some = order[first : first + _SCATTERED_ROWS]
        taken[some] = array[rows[some]]
        forget_pages(array)
    return taken


def forget_pages(array: np.ndarray) -> None:
    """Releases the memory of the pages that were read from a memory-mapped array; does nothing for other arrays.

    Memory pages that were read count as memory of the process as long as the file is mapped. A memory page that is
    needed again comes from the system's page cache.
    """
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def check_finite(
    vectors: np.ndarray, ids: np.ndarray | None, where: str, layout: Layout | None = None, option: str = ""
) -> None:
    """Raises UserError if a row of `[N, D]` has NaN or infinite values, see `not_finite`.

    The error describes the first such row, with its id if `ids` is given. `option` is the option that drops such rows,
    and the error names it if it is not "".
    """
    bad = bad_rows(vectors, layout)
    if len(bad):
        row = int(bad[0])
        item_id = None if ids is None else ids[row : row + 1].tolist()[0]
        if layout is not None and np.isnan(vectors[row]).all():
            raise UserError(
                f"{where}: {_row(row, item_id)} has none of the parts "
                f"{', '.join(layout.names)}; give each item at least one part"
                f"{f', or drop the items without parts ({option})' if option else ''}"
            )
        raise UserError(
            f"{where}: {bad_value(vectors[row], row, item_id)}; {count_of_bad(len(bad), len(vectors))}: "
            + remedy_of_bad(option)
        )


def bad_rows(vectors: np.ndarray, layout: Layout | None = None) -> np.ndarray:
    """Returns the numbers of the rows of `[N, D]` that hold NaN or infinite values, see `not_finite`.

    The array may lie in a file.
    """
    found = [start + not_finite(block, layout) for start, block in in_blocks(vectors)]
    return np.concatenate(found or [np.empty(0, np.int64)])


def not_finite(vectors: np.ndarray, layout: Layout | None = None) -> np.ndarray:
    """Returns the numbers of the rows of `[n, D]` that hold NaN or infinite values.

    With a layout, a part that is all NaN is missing and not an error, as long as the item has another part.
    """
    good = np.isfinite(vectors)
    if layout is not None:
        lacking = layout.lacking(vectors)
        good |= (lacking & ~lacking.all(axis=1, keepdims=True))[:, layout.part_of_feature]
    return np.flatnonzero(~good.all(axis=1))


def zero_rows(vectors: np.ndarray) -> np.ndarray:
    """Returns the numbers of the rows of `[N, D]` that are all 0; the array may lie in a file."""
    found = [start + np.flatnonzero(~block.any(axis=1)) for start, block in in_blocks(vectors)]
    return np.concatenate(found or [np.empty(0, np.int64)])


def rescaled_rows(vectors: np.ndarray) -> np.ndarray:
    """Returns the numbers of the rows of `[N, D]` that equal another row times a positive number other than 1.

    Normalization to length 1 makes these rows equal, up to rounding.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    rows = np.flatnonzero(lengths > 0)
    lengths, units = lengths[rows], vectors[rows] / lengths[rows, None]
    # Rows with the same direction are neighbors in the order of their projections on a random direction.
    order = np.argsort(units @ np.random.default_rng(0).normal(size=units.shape[1]))
    units, lengths = units[order], lengths[order]
    same = (np.abs(units[1:] - units[:-1]) < _SAME_DIRECTION).all(axis=1)
    same &= ~np.isclose(lengths[1:], lengths[:-1], rtol=_SAME_LENGTH)
    found = np.zeros(len(rows), bool)
    found[1:] |= same
    found[:-1] |= same
    return np.sort(rows[order[found]])


def count_of_bad(num_bad: int, num_rows: int) -> str:
    """Returns the number of rows without a finite vector, in words."""
    return f"{num_bad:,} of {num_rows:,} rows have no vector, or NaN or infinite values"


def remedy_of_bad(option: str) -> str:
    """Returns a remedy for rows without a finite vector, in words; `option` is the option that drops them, or ""."""
    return "correct them" + (f", or drop them ({option})" if option else "")


def no_vector(vector: np.ndarray) -> str:
    """Returns why a vector `[D]` is missing, in words; "" if it is not missing.

    Readers of tables mark a missing vector by values that are all NaN or all infinite.
    """
    if np.isnan(vector).all():
        return "null, or all values are NaN"
    if np.isinf(vector).all():
        return "another length, or all values are infinite"
    return ""


def _row(row: int, item_id: object) -> str:
    return f"row {row} (counted from 0{'' if item_id is None else f', id {shown(item_id)}'})"


def bad_value(vector: np.ndarray, row: int, item_id: object) -> str:
    """Returns a description of a vector `[D]` that is not finite: its first such value, or that it is missing."""
    named = _row(row, item_id)
    if np.isnan(vector).all():
        return f"{named} has no vector: it is null, or all its values are NaN"
    if np.isinf(vector).all():
        return f"{named} has no vector of {len(vector)} values: it has another length, or all its values are infinite"
    column = int(np.flatnonzero(~np.isfinite(vector))[0])
    return f"{named} has {vector[column]} as float32 in column {column}"
