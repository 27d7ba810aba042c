"""Training examples of recommenders: histories packed into rows, or one example per target.

A row holds several pieces. A piece is a user's training history, or a section of it if the history is longer than the
maximum history length.
"""

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
    """R rows of P positions, filled with pieces of users' histories.

    Attributes:
      inputs: `[R, P]` int32 items; 0 at an empty position.
      targets: `[R, P]` int32, the next item after each input; 0 at an empty position.
      segments: `[R, P]` int32, the number of the piece in its row, from 1; 0 at an empty position. Attention must not
        cross pieces.
      weights: `[R, P]` float32: 1 if the target counts in the loss, 0 if the input is only context.
    """

    inputs: Array
    targets: Array
    segments: Array
    weights: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class PrefixExamples:
    """E examples, each a history and its next item.

    Attributes:
      histories: `[E, W]` int32 items, left-aligned, padded with 0.
      lengths: `[E]` int32.
      users: `[E]` int32, the number of each example's user.
      targets: `[E]` int32, the next item after each history.
    """

    histories: Array
    lengths: Array
    users: Array
    targets: Array


@dataclasses.dataclass(frozen=True)
class _Pieces:
    """M pieces of histories, as arrays `[M]`.

    Attributes:
      starts: the index in the histories' `items` at which a piece starts.
      lengths: the number of inputs.
      unweighted: the number of inputs, at the start of a piece, that are only context.
    """

    starts: np.ndarray
    lengths: np.ndarray
    unweighted: np.ndarray


def pack_rows(train: Histories, window: int, row_length: int) -> PackedRows:
    """Packs training histories into rows with few empty positions.

    A history s of n items gives the inputs s[0 : n - 1] with the targets s[1 : n]. If there are more inputs than the
    window, they are split into pieces of `window` inputs that start half a window apart. Where pieces overlap, the
    earlier piece has more context, so the weights of the later piece are 0 there. Every target therefore counts once.
    Its context is at least the last `window / 2` items, or all earlier items if there are fewer.

    Args:
      train: histories of U users.
      window: maximum number of inputs in a piece.
      row_length: P, at least the window.

    Raises:
      UserError: if a row is too short for a piece.
    """
    if row_length < window:
        raise UserError(
            f"a row of {row_length} positions is shorter than config.model.window={window}; set a larger "
            "config.train.row_length"
        )
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
    """Returns one example for each item of a history except the first item.

    The item is the target of the example, and all earlier items are the example's history.

    Args:
      train: histories of U users.
      window: W, maximum history length; older items are dropped.
      users: `[U]` int32, the number of each user.
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
    """Packs pieces into rows by best-fit decreasing: the longest first, each into the fullest row with enough space.

    Pieces of equal length and rows with equal free space are interchangeable, and are processed together.

    Args:
      lengths: `[M]`, from 1 to `row_length`.
      row_length: positions in a row.

    Returns:
      `[M]` the row of each piece, `[M]` its first column, and the number of rows.
    """
    rows, columns, num_rows = np.empty_like(lengths), np.empty_like(lengths), 0
    rows_by_space = [np.empty(0, np.int64) for _ in range(row_length + 1)]
    for size in np.unique(lengths)[::-1]:
        waiting = np.flatnonzero(lengths == size)
        for space in range(size, row_length + 1):
            each = space // size
            needed = -(-len(waiting) // each)
            if space == row_length:  # No row in use has space for the remaining pieces, so new rows are added.
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
    """Returns `[M]`, the index of each piece in its row, from 0."""
    order = np.lexsort((columns, rows))
    in_order = rows[order]
    ranks = np.empty_like(rows)
    ranks[order] = np.arange(len(rows)) - np.searchsorted(in_order, in_order)
    return ranks
