from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.cold.rankers import SlotRanker, with_cold

KNOWN = np.array([[1, 2, 3, 4, 5, 6]])
COLD = np.array([[90, 91, 92]])


def test_of_every_so_many_places_the_last_are_for_cold_items():
    assert with_cold(KNOWN, COLD, 6, slots=1, places=3).tolist() == [[1, 2, 90, 3, 4, 91]]
    assert with_cold(KNOWN, COLD, 6, slots=2, places=4).tolist() == [[1, 2, 90, 91, 3, 4]]
    assert with_cold(KNOWN, COLD, 4, slots=0, places=3).tolist() == [[1, 2, 3, 4]]
    assert with_cold(KNOWN, COLD, 3, slots=3, places=3).tolist() == [[90, 91, 92]]


def test_where_there_are_too_few_of_one_kind_the_others_move_up():
    assert with_cold(KNOWN, np.array([[90, -1]]), 6, slots=1, places=3).tolist() == [[1, 2, 90, 3, 4, 5]]
    assert with_cold(np.array([[1, -1]]), COLD, 5, slots=1, places=3).tolist() == [[1, 90, 91, 92, -1]]


@given(st.integers(0, 12), st.integers(0, 6), st.integers(0, 5), st.integers(1, 12))
def test_no_prefix_has_more_cold_items_than_its_share(num_known: int, num_cold: int, slots: int, count: int):
    known, cold = np.arange(num_known)[None], 100 + np.arange(num_cold)[None]
    (found,) = with_cold(known, cold, count, slots, places=5).tolist()
    there = [item for item in found if item >= 0]
    assert len(found) == count and len(there) == min(count, num_known + num_cold)
    assert [item for item in there if item < 100] == list(range(sum(item < 100 for item in there)))
    assert [item for item in there if item >= 100] == list(range(100, 100 + sum(item >= 100 for item in there)))
    for place in range(count):
        shown = found[: place + 1]
        if sum(0 <= item < 100 for item in shown) < num_known:
            whole, more = divmod(place + 1, 5)
            assert sum(item >= 100 for item in shown) <= whole * slots + max(0, more - (5 - slots))


def test_both_kinds_are_asked_and_nothing_excluded_comes_back():
    class Row:
        name = ""

        def __init__(self, first: int):
            self.first = first

        def recommend(self, batch, count, exclude=None):
            found = [item for item in range(self.first, self.first + 20) if item not in exclude]
            return np.tile(np.array(found[:count], np.int32), (len(batch.lengths), 1))

    batch = HistoryBatch(np.zeros((2, 3), np.int32), np.ones(2, np.int32), np.zeros(2, np.int32))
    found = SlotRanker("both", Row(0), Row(50), 1).recommend(batch, 20, np.array([[0, 50], [0, 50]]))
    wanted = [*range(1, 10), 51, *range(10, 19), 52]
    assert found.tolist() == [wanted, wanted]
