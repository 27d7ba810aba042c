"""The codes of a new model are renumbered, so that they agree with the codes of an old model."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.ids.matching import best_orders, renumbered


def test_by_hand_and_deeper_levels_by_the_items_that_agree():
    old = np.array([[0, 0], [0, 0], [0, 1], [1, 1], [1, 1], [1, 1]])
    # In all items but the last one, codes 0 and 1 are exchanged at level 1; at level 2, code 0 becomes 2 and code 1
    # becomes 0. The last item is ignored at level 2, since its code at level 1 is not exchanged.
    new = np.array([[1, 2], [1, 2], [1, 0], [0, 0], [0, 0], [1, 2]])
    orders = best_orders(old, new, (2, 3))
    assert [order.tolist() for order in orders] == [[1, 0], [2, 0, 1]]
    assert renumbered(new, orders).tolist() == [[0, 0], [0, 0], [0, 1], [1, 1], [1, 1], [0, 0]]


def test_numbers_that_nothing_speaks_for_stay():
    orders = best_orders(np.zeros((1, 1), int), np.zeros((1, 1), int), (4,))
    assert orders[0].tolist() == [0, 1, 2, 3]
    # An old code above the size of the new codebook has no counterpart.
    assert best_orders(np.array([[7]]), np.array([[1]]), (3,))[0].tolist() == [0, 1, 2]


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_any_renaming_is_undone_and_each_order_is_a_permutation(seed, number, sizes):
    random = np.random.default_rng(seed)
    old = np.stack([random.integers(0, size, number) for size in sizes], axis=1)
    names = [random.permutation(size) for size in sizes]
    new = np.stack([name[level] for name, level in zip(names, old.T, strict=True)], axis=1)
    orders = best_orders(old, new, sizes)
    np.testing.assert_array_equal(renumbered(new, orders), old)
    for order, size in zip(orders, sizes, strict=True):
        assert sorted(order.tolist()) == list(range(size))
