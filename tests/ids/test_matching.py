import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from sid_jax.ids.matching import deferred_acceptance, first_in_group


def settle(costs, room=None, rank=None):
    costs = np.asarray(costs, float)
    wanted = np.broadcast_to(np.arange(costs.shape[1]), costs.shape)
    room = np.ones(costs.shape, np.int64) if room is None else np.broadcast_to(room, costs.shape)
    return deferred_acceptance(wanted, costs, room, np.arange(len(costs)) if rank is None else np.asarray(rank))


def test_a_contest_goes_to_whom_the_next_best_would_cost_more():
    # Both items prefer ID 0. With ID 1, their second choice, the cost of item 0 rises by 1, and that of item 1 by 5.
    assert settle([[0, 1, 9], [1, 6, 9]]).tolist() == [1, 0]
    # ID 0 goes to item 1. Item 0 takes ID 1 from item 2, whose next choice, ID 2, costs only .5 more.
    assert settle([[0, 1, 9], [1, 6, 9], [7, 1, 1.5]]).tolist() == [1, 0, 2]


def test_ties_go_to_the_lower_rank_and_room_is_kept():
    assert settle([[0, 1], [0, 1]], rank=[5, 2]).tolist() == [1, 0]
    assert settle([[0, 1], [0, 1], [0, 1]], room=[2, 1]).tolist() == [0, 0, 1]


def test_what_cannot_be_had_is_not_given():
    assert settle([[np.inf, np.inf], [np.inf, 3]]).tolist() == [-1, 1]
    assert settle([[1, np.inf], [1, np.inf]]).tolist() == [0, -1]
    assert settle(np.zeros((0, 3))).tolist() == []


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_it_is_stable_and_does_not_depend_on_the_order(num_items, seed):
    random = np.random.default_rng(seed)
    costs = random.random((num_items, num_items + 2))
    chosen = settle(costs)
    assert len(set(chosen.tolist())) == num_items and chosen.min() >= 0
    shuffled = random.permutation(num_items)
    assert settle(costs[shuffled], rank=shuffled).tolist() == chosen[shuffled].tolist()
    # No free ID costs an item less than the ID that it got.
    empty = np.setdiff1d(np.arange(costs.shape[1]), chosen)
    assert (costs[np.arange(num_items), chosen] <= costs[:, empty].min(axis=1)).all()


def test_the_sum_of_costs_is_near_the_least_there_is():
    random = np.random.default_rng(0)
    costs = np.square(random.normal(size=(300, 1, 4)) - random.normal(size=(1, 600, 4))).sum(axis=-1)
    least = costs[linear_sum_assignment(costs)].sum()
    assert costs[np.arange(300), settle(costs)].sum() < 1.1 * least


def test_the_first_in_a_group_are_its_heaviest():
    groups, weights = np.array([1, 0, 1, 1]), np.array([2.0, 0.0, 3.0, 3.0])
    first = first_in_group(groups, weights, np.arange(4), np.array([2, 1, 2, 2]))
    assert first.tolist() == [False, True, True, True]
