"""Training examples: sequences packed side by side into rows, or one example for each next item."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from sid_jax.data.histories import Histories, last_items
from sid_jax.errors import UserError
from sid_jax.recommend.batch import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class PackedRows:
    """R rows of P places, filled with pieces of users' sequences.

    Attributes:
      inputs: `[R, P]` int32 items; 0 where a place is empty.
      targets: `[R, P]` int32, the item that came after each input; 0 where a place is empty.
      segments: `[R, P]` int32: 0 an empty place, 1, 2, … which piece of the row a place belongs to. Attention must not
        cross from one piece to another.
      weights: `[R, P]` float32: 1 where the target is to be learned, 0 where the input is there as history alone.
    """

    inputs: Array
    targets: Array
    segments: Array
    weights: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class PrefixExamples:
    """E examples of a history and the item that came next.

    Attributes:
      histories: `[E, W]` int32 items from the left, padded with 0.
      lengths: `[E]` int32.
      users: `[E]` int32, a number for each user.
      targets: `[E]` int32.
    """

    histories: Array
    lengths: Array
    users: Array
    targets: Array


@dataclasses.dataclass(frozen=True)
class _Pieces:
    """M pieces, each `[M]`: where one begins in `items`, how many inputs it has, how many are history alone."""

    starts: np.ndarray
    lengths: np.ndarray
    unweighted: np.ndarray


def pack_rows(train: Histories, window: int, row_length: int) -> PackedRows:
    """Packs what there is to learn into rows, so that hardly a place is empty.

    A user's n items give the inputs s[0 : n - 1] with the targets s[1 : n]. More inputs than the window are cut into
    pieces of `window`, half a window apart. Where pieces overlap, the earlier one has more history, so that there the
    later one's weights are 0: every target is learned once, from the last `window / 2` items at least.

    Args:
      train: U users.
      window: the most inputs in a piece.
      row_length: P, not below the window.

    Raises:
      UserError: if a row is too short for a piece.
    """
    if row_length < window:
        raise UserError(f"a row of {row_length} places cannot hold a piece of {window} items; give longer rows")
    pieces = _cut(train, window)
    rows, columns, num_rows = _best_fit_decreasing(pieces.lengths, row_length)
    piece = np.repeat(np.arange(len(rows)), pieces.lengths)
    within = np.arange(len(piece)) - np.repeat(np.cumsum(pieces.lengths) - pieces.lengths, pieces.lengths)
    place = (rows * row_length + columns)[piece] + within
    source = pieces.starts[piece] + within
    segment = _rank_in_row(rows, columns) + 1

    def filled(values: np.ndarray, dtype: type) -> np.ndarray:
        flat: np.ndarray = np.zeros(num_rows * row_length, dtype)
        flat[place] = values
        return flat.reshape(num_rows, row_length)

    return PackedRows(
        inputs=filled(train.items[source], np.int32),
        targets=filled(train.items[source + 1], np.int32),
        segments=filled(segment[piece], np.int32),
        weights=filled(within >= pieces.unweighted[piece], np.float32),
    )


def prefix_examples(train: Histories, window: int, users: np.ndarray) -> PrefixExamples:
    """Returns an example for each item that came after another: the history so far, and that item.

    Args:
      train: U users.
      window: W, the most items of history: the last ones.
      users: `[U]` int32, a number for each user.
    """
    first = np.repeat(train.offsets[:-1], train.lengths)
    places = np.arange(len(train.items))
    is_target = places > first
    histories, lengths = last_items(train.items, first[is_target], places[is_target], window)
    return PrefixExamples(histories, lengths, np.repeat(users, train.lengths)[is_target], train.items[is_target])


def _cut(train: Histories, window: int) -> _Pieces:
    inputs = np.maximum(train.lengths - 1, 0)
    step = max(1, window // 2)
    further = -(-np.maximum(inputs - window, 0) // step)
    counts = np.where(inputs > 0, 1 + further, 0)
    user = np.repeat(np.arange(len(train)), counts)
    number = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    return _Pieces(
        starts=train.offsets[user] + number * step,
        lengths=np.minimum(inputs[user] - number * step, window),
        unweighted=np.where(number > 0, window - step, 0),
    )


def _best_fit_decreasing(lengths: np.ndarray, row_length: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Gives each piece a place, the long ones first, each in the fullest row that it fits into.

    Pieces of one length and rows with the same free space are all alike, so that they are dealt with together.

    Args:
      lengths: `[M]`, from 1 to `row_length`.
      row_length: places in a row.

    Returns:
      `[M]` the row of each piece, `[M]` its first column, and how many rows there are.
    """
    rows, columns, num_rows = np.empty_like(lengths), np.empty_like(lengths), 0
    rows_by_space = [np.empty(0, np.int64) for _ in range(row_length + 1)]
    for size in np.unique(lengths)[::-1]:
        waiting = np.flatnonzero(lengths == size)
        for space in range(size, row_length + 1):
            each = space // size
            needed = -(-len(waiting) // each)
            if space == row_length:  # New rows, as many as it takes.
                rows_by_space[space] = np.arange(num_rows, num_rows + needed)
                num_rows += needed
            taken, rows_by_space[space] = np.split(rows_by_space[space], [needed])
            now, waiting = np.split(waiting, [len(taken) * each])
            nth = np.arange(len(now))
            rows[now] = taken[nth // each]
            columns[now] = row_length - space + nth % each * size
            left = space - np.bincount(nth // each, minlength=len(taken)) * size
            for new_space in np.unique(left):
                rows_by_space[new_space] = np.concatenate([rows_by_space[new_space], taken[left == new_space]])
    return rows, columns, num_rows


def _rank_in_row(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns `[M]`: 0 for the first piece of its row, 1 for the next, …"""
    order = np.lexsort((columns, rows))
    in_order = rows[order]
    ranks = np.empty_like(rows)
    ranks[order] = np.arange(len(rows)) - np.searchsorted(in_order, in_order)
    return ranks
