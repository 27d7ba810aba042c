"""Relocation in small examples, in which code tuples have known positions on a line."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_jax.errors import UserError
from sid_jax.ids import relocate as relocate_module
from sid_jax.ids.relocate import (
    Occupancy,
    Placing,
    _numbered,
    needs_exact_costs,
    prefix_keys,
    relocate,
    tuple_keys,
)


def numbered(sizes):
    """All tuples in lexicographic order, `[n, L]`."""
    return np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1).astype(np.int32)


class Line:
    """Alternative tuples for items on a line: tuple number n is at position n, and the nearest tuples come first."""

    def __init__(self, positions, sizes):
        self.positions, self.sizes, self.all = positions, sizes, numbered(sizes)

    def tuples(self, rows, own, first_codes, search, full):
        distances = np.square(self.positions[rows, None] - np.arange(len(self.all)))
        size = self.sizes[-1]
        taken = full(self.all[::size, :-1]).reshape(-1)
        under = np.where((self.all[:, 0] == first_codes[:, None]) & ~taken, distances, np.inf)
        nearest = np.argsort(under, axis=1, kind="stable")[:, : min(search.tuples, math.prod(self.sizes[1:]))]
        own_costs = distances[np.arange(len(rows)), np.ravel_multi_index(own.T, self.sizes)]
        return self.all[nearest], np.take_along_axis(under, nearest, axis=1), own_costs

    def costs(self, rows, tuples):
        return np.square(self.positions[rows, None] - np.ravel_multi_index(np.moveaxis(tuples, -1, 0), self.sizes))

    def first_codes(self, rows):
        distances = np.square(self.positions[rows, None] - np.arange(len(self.all)))
        return distances.reshape(len(rows), self.sizes[0], -1).min(axis=2)


def world(num_items, sizes, seed, spread=1.0):
    random = np.random.default_rng(seed)
    positions = random.random(num_items) * (np.prod(sizes) - 1) * spread
    return positions, numbered(sizes)[np.rint(positions).astype(int)], random.permutation(num_items)


def test_who_would_lose_most_stays_and_the_others_go_to_the_nearest_free_tuple():
    sizes = (2, 4)
    positions = np.array([2.1, 2.4, 3.0])
    codes = np.array([[0, 2], [0, 2], [0, 3]], np.int32)
    moved = relocate(codes, np.array(["a", "b", "c"], object), sizes, Line(positions, sizes))
    # The items at 2.1 and 2.4 both have tuple 2. Tuple 3 is occupied, so one of them moves to tuple 1. The
    # item at 2.1 moves, since its error increases less than the error of the item at 2.4 would.
    assert moved.tolist() == [[0, 1], [0, 2], [0, 3]]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_everybody_has_a_place_nobody_moves_in_vain_and_the_order_does_not_matter(num_items, seed, capacity):
    sizes = (4, 5, 3)
    positions, codes, ids = world(num_items, sizes, seed, spread=0.5)
    moved = relocate(codes, ids, sizes, Line(positions, sizes), capacity=capacity)
    assert moved.dtype == np.int32
    assert np.unique(moved, axis=0, return_counts=True)[1].max() <= capacity
    counts = np.unique(codes, axis=0, return_counts=True)[1]
    assert (moved != codes).any(axis=1).sum() == np.maximum(counts - capacity, 0).sum()
    order = np.random.default_rng(seed).permutation(num_items)
    again = relocate(codes[order], ids[order], sizes, Line(positions[order], sizes), capacity=capacity)
    np.testing.assert_array_equal(again, moved[order])


def test_as_many_items_as_places_and_one_more():
    sizes = (4, 4)
    codes = np.zeros((16, 2), np.int32)
    moved = relocate(codes, np.arange(16), sizes, Line(np.zeros(16), sizes))
    assert len(np.unique(moved, axis=0)) == 16
    assert moved[0].tolist() == [0, 0]  # If all items are equal, the item with the lowest id stays.
    more = np.zeros((17, 2), np.int32)
    with pytest.raises(UserError, match="17 items are too many .* IDs for 16 items"):
        relocate(more, np.arange(17), sizes, Line(np.zeros(17), sizes))
    assert len(np.unique(relocate(more, np.arange(17), sizes, Line(np.zeros(17), sizes), capacity=2), axis=0)) > 8


@pytest.mark.parametrize("sizes", [(8, 1024), (256,) * 9, (3000,)])
def test_more_items_alike_than_the_search_has_tuples(sizes):
    """One case has more tuples than int64 can number, and one has a single level."""
    codes = np.ones((3000, len(sizes)), np.int32)

    class Few:
        def tuples(self, rows, own, first_codes, search, full):
            found = np.repeat(own[:, None], 50 if len(sizes) > 1 else 1, axis=1)
            found[..., 0] = first_codes[:, None]
            found[..., 1:][..., -1:] = np.arange(found.shape[1])[:, None]
            taken = np.take_along_axis(full(found[:, 0, :-1]), found[..., -1], axis=1)
            costs = np.where(taken, np.inf, np.arange(found.shape[1], dtype=np.float32))
            nearest = np.argsort(costs, axis=1, kind="stable")[:, : search.tuples]
            found = np.take_along_axis(found, nearest[..., None], axis=1)
            return found, np.take_along_axis(costs, nearest, axis=1), np.zeros(len(rows))

        def costs(self, rows, tuples):
            return tuples[..., -1].astype(np.float32)

        def first_codes(self, rows):
            return np.broadcast_to(np.arange(sizes[0], dtype=np.float32), (len(rows), sizes[0]))

    moved = relocate(codes, np.arange(3000), sizes, Few())
    assert len(np.unique(moved, axis=0)) == 3000
    assert (moved == codes).all(axis=1).sum() == 1
    if len(sizes) > 2:
        assert (moved[:, :-2] == 1).all()
    if sizes == (8, 1024):
        # The first code of all items is 1, and 1,024 items get all IDs with this first code. Of the other first codes,
        # 0 has the lowest cost, and then 2. So the other items get all IDs with 0, and then IDs with 2.
        assert np.bincount(moved[:, 0], minlength=8).tolist() == [1024, 1024, 952, 0, 0, 0, 0, 0]


def test_codes_that_are_unique_are_left_alone_and_nothing_is_asked():
    codes = numbered((3, 3))
    moved = relocate(codes, np.arange(9), (3, 3), None)
    assert moved is not codes
    np.testing.assert_array_equal(moved, codes)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 80), st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_the_items_of_some_first_codes_come_out_as_among_all(num_items, seed, at_once):
    """A large catalog is processed in groups of first codes, each without the items of the other groups."""
    sizes = (4, 5, 5)
    positions, codes, ids = world(num_items, sizes, seed)
    codes = codes.copy()
    codes[:, 2] //= 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relocate_module, "_PREFIXES_AT_ONCE", 32 * at_once)
        together = Placing(codes, ids, sizes, Line(positions, sizes), 1)
        leaving = together.settle()
        for part in ([0], [1, 3], [2]):
            rows = np.flatnonzero(np.isin(codes[:, 0], part))
            alone = Placing(codes[rows], ids[rows], sizes, Line(positions[rows], sizes), 1)
            assert sorted(rows[alone.settle()]) == sorted(np.intersect1d(leaving, rows))
            np.testing.assert_array_equal(alone.codes, together.codes[rows])
    assert len(np.unique(np.delete(together.codes, leaving, axis=0), axis=0)) == num_items - len(leaving)


def test_only_first_codes_with_few_crowded_items_compare_exact_costs():
    sizes = (3, 8)
    codes = np.array([[0, 0], [0, 0], *([0, code] for code in range(1, 7)), [1, 2], [1, 2], [1, 3], [1, 3], [1, 5]])
    asked = []

    class Counting(Line):
        def costs(self, rows, tuples):
            asked.extend(rows.tolist())
            return super().costs(rows, tuples)

    moved = relocate(codes, np.arange(13), sizes, Counting(np.ravel_multi_index(codes.T, sizes) + 0.1, sizes))
    assert len(np.unique(moved, axis=0)) == 13 and (moved != codes).any(axis=1).sum() == 3
    # Two of eight items with the first code 0 are crowded, and four of five with the first code 1.
    assert len(asked) == 1 and asked[0] in (0, 1)
    assert needs_exact_costs(np.array([0, 0, 1, 1, 1, 1]), np.array([8, 5, 0])).tolist() == [True, False, True]
    assert needs_exact_costs(np.array([0, 0, 0]), np.array([5])).tolist() == [True]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 60) | st.integers(2**40, 2**40 + 3), min_size=1, max_size=40).map(np.array))
def test_keys_are_numbered_in_ascending_order(keys):
    names, where = _numbered(keys.reshape(1, -1))
    np.testing.assert_array_equal(names, np.unique(keys))
    np.testing.assert_array_equal(names[where], keys.reshape(1, -1))


def test_who_leaves_a_full_first_code_goes_to_the_nearest_with_room():
    sizes = (3, 2)
    positions = np.array([0.1, 0.2, 1.4, 3.0, 3.1])
    codes = np.array([[0, 0], [0, 0], [0, 1], [1, 1], [1, 1]], np.int32)
    moved = relocate(codes, np.arange(5), sizes, Line(positions, sizes))
    # One item of tuple 3, (1, 1), moves to tuple 2, (1, 0). Then no tuple with the first code 0 or 1 is free, so one
    # item of tuple 0 moves to tuple 4, (2, 0).
    assert moved.tolist() == [[0, 0], [2, 0], [0, 1], [1, 0], [1, 1]]


keys_of_31 = st.lists(st.integers(0, 30), max_size=12)


@given(keys_of_31, st.lists(keys_of_31, max_size=12))
def test_items_are_counted_however_they_are_added(known, added):
    occupancy, expected = Occupancy(np.array(known, np.int64), 2), np.minimum(np.bincount(known, minlength=31), 2)
    for keys in added:
        occupancy.add(np.array(keys, np.int64))
        expected += np.bincount(keys, minlength=31)
        assert occupancy.count(np.arange(31)).tolist() == expected.tolist()
        # The 31 keys and one more key, which no item has, are the keys of 8 prefixes with 4 tuples each.
        under = occupancy.count_under(np.array([7, 0, 3]), 4)
        assert under.tolist() == np.append(expected, 0).reshape(8, 4)[[7, 0, 3]].tolist()


@pytest.mark.parametrize("sizes", [(5,), (4, 3), (256,) * 7, (256,) * 8, (3000,) * 9])
def test_a_key_is_the_key_of_the_prefix_and_the_last_code(sizes):
    codes = np.random.default_rng(0).integers(0, sizes, (500, len(sizes))).astype(np.int32)
    keys, prefixes = tuple_keys(codes, sizes), prefix_keys(codes[:, :-1], sizes)
    assert keys.dtype == prefixes.dtype == np.int64 and (keys >= 0).all()
    np.testing.assert_array_equal(keys // sizes[-1], prefixes)
    np.testing.assert_array_equal(keys % sizes[-1], codes[:, -1])
    assert len(np.unique(keys)) == len(np.unique(codes, axis=0))
    if math.prod(sizes) < 2**62:
        np.testing.assert_array_equal(keys, np.ravel_multi_index(codes.T, sizes))
