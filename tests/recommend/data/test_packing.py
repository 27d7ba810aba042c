from __future__ import annotations

from collections import Counter

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.errors import UserError
from sid_jax.recommend.data.packing import PackedRows, pack_rows, prefix_examples
from tests.data.test_histories import make


def pieces(rows: PackedRows) -> list[tuple[list[int], list[int], list[float]]]:
    """Returns the inputs, targets and weights of each piece of a history, row by row."""
    found = []
    for inputs, targets, segments, weights in zip(rows.inputs, rows.targets, rows.segments, rows.weights, strict=True):
        for segment in range(1, segments.max(initial=0) + 1):
            here = segments == segment
            assert np.diff(np.flatnonzero(here)).max(initial=1) == 1
            found.append((inputs[here].tolist(), targets[here].tolist(), weights[here].tolist()))
    return found


def test_a_short_sequence_is_one_piece():
    rows = pack_rows(make([1, 2, 3]), window=4, row_length=5)
    assert rows.inputs.tolist() == [[1, 2, 0, 0, 0]]
    assert rows.targets.tolist() == [[2, 3, 0, 0, 0]]
    assert rows.segments.tolist() == [[1, 1, 0, 0, 0]]
    assert rows.weights.tolist() == [[1, 1, 0, 0, 0]]
    assert [array.dtype for array in (rows.inputs, rows.targets, rows.segments, rows.weights)] == [
        np.int32,
        np.int32,
        np.int32,
        np.float32,
    ]


def test_a_long_sequence_is_cut_into_pieces_half_a_window_apart():
    rows = pack_rows(make(list(range(10))), window=4, row_length=4)
    assert sorted(pieces(rows)) == [
        ([0, 1, 2, 3], [1, 2, 3, 4], [1, 1, 1, 1]),
        ([2, 3, 4, 5], [3, 4, 5, 6], [0, 0, 1, 1]),
        ([4, 5, 6, 7], [5, 6, 7, 8], [0, 0, 1, 1]),
        ([6, 7, 8], [7, 8, 9], [0, 0, 1]),
    ]


def test_pieces_fill_the_fullest_row_that_they_fit_into():
    # The pieces have 5, 4, 3, 2 and 2 inputs. A row has 6 positions. Beside the piece of 4, a piece of 2 fits, but the
    # piece of 3 does not.
    train = make([1] * 6, [2] * 5, [3] * 4, [4] * 3, [5] * 3)
    rows = pack_rows(train, window=6, row_length=6)
    assert rows.inputs.tolist() == [[1, 1, 1, 1, 1, 0], [2, 2, 2, 2, 4, 4], [3, 3, 3, 5, 5, 0]]
    assert rows.segments.tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 2, 2], [1, 1, 1, 2, 2, 0]]


def sequences_of_users() -> st.SearchStrategy[list[list[int]]]:
    """Sequences in which no item occurs twice, so that an item determines the user and the position in the sequence."""
    lengths = st.lists(st.integers(0, 40), max_size=12)
    return lengths.map(lambda found: [list(range(100 * user, 100 * user + n)) for user, n in enumerate(found)])


@given(sequences_of_users(), st.integers(1, 9), st.integers(0, 12))
def test_every_target_is_learned_once_with_enough_history(sequences: list[list[int]], window: int, spare: int):
    train = make(*sequences, num_items=2000)
    rows = pack_rows(train, window, window + spare)
    learned: Counter[tuple[int, int]] = Counter()
    for inputs, targets, weights in pieces(rows):
        assert 1 <= len(inputs) <= window
        assert inputs == list(range(inputs[0], inputs[0] + len(inputs)))
        assert targets == [item + 1 for item in inputs]
        user, first = divmod(inputs[0], 100)
        assert targets[-1] in sequences[user]
        for place, weight in enumerate(weights):
            assert weight in (0, 1)
            if weight:
                learned[inputs[place], targets[place]] += 1
                assert place + 1 >= min(first + place + 1, window / 2)
    assert learned == Counter(pair for sequence in sequences for pair in zip(sequence, sequence[1:], strict=False))


@given(sequences_of_users(), st.integers(1, 9), st.integers(0, 12))
def test_empty_places_are_at_the_end_and_hold_nothing(sequences: list[list[int]], window: int, spare: int):
    rows = pack_rows(make(*sequences, num_items=2000), window, window + spare)
    empty = rows.segments == 0
    assert (np.diff(empty.astype(int), axis=1) >= 0).all()
    assert not empty[:, 0].any()
    assert not any(array[empty].any() for array in (rows.inputs, rows.targets, rows.weights))
    assert rows.inputs.shape[1] == window + spare


@given(st.lists(st.integers(2, 13), min_size=1, max_size=60), st.integers(12, 30))
def test_rows_are_as_few_as_best_fit_decreasing_gives(lengths: list[int], row_length: int):
    rows = pack_rows(make(*([0] * length for length in lengths)), 12, row_length)
    spaces: list[int] = []
    for size in sorted((length - 1 for length in lengths), reverse=True):
        fitting = [row for row, space in enumerate(spaces) if space >= size]
        if fitting:
            spaces[min(fitting, key=lambda row: spaces[row])] -= size
        else:
            spaces.append(row_length - size)
    assert len(rows.inputs) == len(spaces)
    assert sorted((rows.segments == 0).sum(axis=1).tolist()) == sorted(spaces)


def test_packing_is_the_same_each_time():
    random = np.random.default_rng(0)
    train = make(*(random.integers(0, 10, length).tolist() for length in random.integers(0, 30, 50)))
    one, other = pack_rows(train, 8, 20), pack_rows(train, 8, 20)
    for name in ("inputs", "targets", "segments", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_row_shorter_than_the_window_is_refused():
    with pytest.raises(UserError, match="a row of 5 positions is shorter than config.model.window=6"):
        pack_rows(make([1, 2, 3]), window=6, row_length=5)


def test_each_prefix_is_an_example():
    examples = prefix_examples(make([1, 2, 3, 4], [5], [], [6, 7]), 2, np.array([7, 8, 9, 10], np.int32))
    assert examples.histories.tolist() == [[1, 0], [1, 2], [2, 3], [6, 0]]
    assert examples.lengths.tolist() == [1, 2, 2, 1]
    assert examples.users.tolist() == [7, 7, 7, 10]
    assert examples.targets.tolist() == [2, 3, 4, 7]
    assert {leaf.dtype for leaf in jax.tree.leaves(examples)} == {np.dtype(np.int32)}


@given(sequences_of_users(), st.integers(1, 9))
def test_prefixes_are_slices(sequences: list[list[int]], window: int):
    users = np.zeros(len(sequences), np.int32)
    examples = prefix_examples(make(*sequences, num_items=2000), window, users)
    wanted = [
        (sequence[:place][-window:], sequence[place]) for sequence in sequences for place in range(1, len(sequence))
    ]
    found = [row[:length].tolist() for row, length in zip(examples.histories, examples.lengths, strict=True)]
    assert list(zip(found, examples.targets.tolist(), strict=True)) == wanted
    assert not examples.histories[np.arange(window) >= examples.lengths[:, None]].any()
