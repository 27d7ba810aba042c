from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.data.histories import Histories, item_counts
from sid_jax.errors import UserError
from sid_jax.recommend.baselines import cosine_neighbors
from sid_jax.recommend.data.packing import pack_rows, prefix_examples
from sid_jax.recommend.data.split import EvaluationExamples, choose_cold_items, leave_one_out
from tests.data.test_histories import lists, make


def mask(*items: int, num_items: int = 10) -> np.ndarray:
    return np.isin(np.arange(num_items), items)


def questions(part: EvaluationExamples) -> dict[int, tuple[list[int], int]]:
    users = part.histories.user_ids.tolist()
    return dict(zip(users, zip(lists(part.histories), part.targets.tolist(), strict=True), strict=True))


def test_the_last_item_is_test_and_the_one_before_it_validation():
    split = leave_one_out(make([1, 2, 3, 4], [5, 6, 7]))
    assert lists(split.train) == [[1, 2], [5]]
    assert questions(split.validation) == {0: ([1, 2], 3), 1: ([5], 6)}
    assert questions(split.test) == {0: ([1, 2, 3], 4), 1: ([5, 6], 7)}
    assert split.validation.left_out == split.test.left_out == 0
    assert split.test.targets.dtype == np.int32
    assert not split.cold.any()


def test_users_without_a_history_are_not_asked_but_counted():
    split = leave_one_out(make([1, 2, 3, 4], [5, 6], [7], []))
    assert lists(split.train) == [[1, 2], [], [], []]
    assert questions(split.validation) == {0: ([1, 2], 3)}
    assert split.validation.left_out == 3
    assert questions(split.test) == {0: ([1, 2, 3], 4), 1: ([5], 6)}
    assert split.test.left_out == 2


def test_cold_items_are_targets_only():
    split = leave_one_out(make([1, 9, 2, 9, 8], [9, 9, 9, 3], [9, 1, 9, 9]), mask(8, 9))
    assert lists(split.train) == [[1, 2], [], [1]]
    assert questions(split.validation) == {0: ([1, 2], 9), 2: ([1], 9)}
    assert questions(split.test) == {0: ([1, 2], 8), 2: ([1], 9)}
    assert split.validation.left_out == split.test.left_out == 1


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=1, max_size=6),
    st.sets(st.integers(0, 9), max_size=4),
)
def test_split_is_what_slices_say(sequences: list[list[int]], cold: set[int]):
    train = [[item for item in sequence[:-2] if item not in cold] for sequence in sequences]
    if max(map(len, train)) < 2:
        with pytest.raises(UserError, match="there is no training data"):
            leave_one_out(make(*sequences), mask(*cold))
        return
    split = leave_one_out(make(*sequences), mask(*cold))
    assert lists(split.train) == train
    for part, back in ((split.validation, 2), (split.test, 1)):
        known = [[item for item in sequence[:-back] if item not in cold] for sequence in sequences]
        wanted = {user: (known[user], sequences[user][-back]) for user in range(len(sequences)) if known[user]}
        assert questions(part) == wanted
        assert part.left_out == len(sequences) - len(wanted)


def everything_training_sees(histories: Histories) -> list[np.ndarray]:
    train = leave_one_out(histories, mask(9)).train
    rows = pack_rows(train, 4, 8)
    return [
        *(rows.inputs, rows.targets, rows.segments, rows.weights),
        *jax.tree.leaves(prefix_examples(train, 4, np.arange(len(train), dtype=np.int32))),
        item_counts(train),
        cosine_neighbors(train, 3).toarray(),
    ]


def test_training_sees_nothing_of_the_targets():
    random = np.random.default_rng(0)
    sequences = [random.integers(0, 10, length).tolist() for length in random.integers(3, 15, 30)]
    changed = [
        sequence[:-2] + [(item + 1 + random.integers(9)) % 10 for item in sequence[-2:]] for sequence in sequences
    ]
    one, other = make(*sequences), make(*changed)
    assert not np.array_equal(leave_one_out(one).test.targets, leave_one_out(other).test.targets)
    for before, after in zip(everything_training_sees(one), everything_training_sees(other), strict=True):
        np.testing.assert_array_equal(before, after)


def test_cold_items_are_drawn_from_the_test_targets():
    histories = make(*([0, 1, 2, item % 40 + 5] for item in range(100)), [], num_items=50)
    cold = choose_cold_items(histories, 0.1, seed=3)
    assert cold.shape == (50,)
    assert cold.sum() == 4
    assert set(np.flatnonzero(cold)) <= set(range(5, 45))
    np.testing.assert_array_equal(cold, choose_cold_items(histories, 0.1, seed=3))
    assert any((cold != choose_cold_items(histories, 0.1, seed=seed)).any() for seed in range(4, 8))
    assert choose_cold_items(histories, 1e-6, seed=0).sum() == 1
    assert choose_cold_items(histories, 1, seed=0).sum() == 1
    assert choose_cold_items(histories, 39, seed=0).sum() == 39


@pytest.mark.parametrize("amount", [0, 2, -0.5, float("nan")])
def test_an_amount_out_of_range_is_refused(amount: float):
    with pytest.raises(UserError, match="above 0 and below 1, or a number of items below 2"):
        choose_cold_items(make([1, 2, 3], [4]), amount, seed=0)
