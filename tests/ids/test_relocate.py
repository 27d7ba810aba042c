"""Unique IDs without an extra token, on a small world where a tuple's place in space is plain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_jax.errors import UserError
from sid_jax.ids.relocate import relocate


def numbered(sizes):
    """All tuples in lexicographic order, `[n, L]`."""
    return np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1).astype(np.int32)


def line(positions, codes, sizes):
    """Alternatives of items on a line, where the tuple with the number n stands at n: the nearest tuples come first."""
    tuples = numbered(sizes)

    def alternatives(rows, width):
        distances = np.square(positions[rows, None] - np.arange(len(tuples)))
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :width]
        own = np.ravel_multi_index(codes[rows].T, sizes)
        places = np.concatenate([own[:, None], nearest], axis=1)
        return tuples[places], np.take_along_axis(distances, places, axis=1).astype(np.float32)

    return alternatives


def world(num_items, sizes, seed, spread=1.0):
    random = np.random.default_rng(seed)
    positions = random.random(num_items) * (np.prod(sizes) - 1) * spread
    return positions, numbered(sizes)[np.rint(positions).astype(int)], random.permutation(num_items)


def test_who_would_lose_most_stays_and_the_others_go_to_the_nearest_free_tuple():
    sizes = (2, 4)
    positions = np.array([2.1, 2.4, 3.0])
    codes = np.array([[0, 2], [0, 2], [0, 3]], np.int32)
    moved = relocate(codes, np.array(["a", "b", "c"], object), sizes, line(positions, codes, sizes))
    # 3 is taken and stays so; of the two at 2, the one at 2.1 is nearer to 1 and loses less by going there.
    assert moved.tolist() == [[0, 1], [0, 2], [0, 3]]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_everybody_has_a_place_nobody_moves_in_vain_and_the_order_does_not_matter(num_items, seed, capacity):
    sizes = (4, 5, 3)
    positions, codes, ids = world(num_items, sizes, seed, spread=0.5)
    moved = relocate(codes, ids, sizes, line(positions, codes, sizes), capacity=capacity)
    assert moved.dtype == np.int32
    assert np.unique(moved, axis=0, return_counts=True)[1].max() <= capacity
    counts = np.unique(codes, axis=0, return_counts=True)[1]
    assert (moved != codes).any(axis=1).sum() == np.maximum(counts - capacity, 0).sum()
    order = np.random.default_rng(seed).permutation(num_items)
    again = relocate(codes[order], ids[order], sizes, line(positions[order], codes[order], sizes), capacity=capacity)
    np.testing.assert_array_equal(again, moved[order])


def test_as_many_items_as_places_and_one_more():
    sizes = (4, 4)
    codes = np.zeros((16, 2), np.int32)
    moved = relocate(codes, np.arange(16), sizes, line(np.zeros(16), codes, sizes))
    assert len(np.unique(moved, axis=0)) == 16
    assert moved[0].tolist() == [0, 0]  # Where all are alike, the lowest id stays.
    more = np.zeros((17, 2), np.int32)
    with pytest.raises(UserError, match="17 items cannot .* 16 places"):
        relocate(more, np.arange(17), sizes, line(np.zeros(17), more, sizes))
    assert len(np.unique(relocate(more, np.arange(17), sizes, line(np.zeros(17), more, sizes), capacity=2), axis=0)) > 8


@pytest.mark.parametrize("sizes", [(8, 1024), (256,) * 9])
def test_more_items_alike_than_the_widest_beam_has_tuples(sizes):
    """Also with more tuples than a number can name."""
    codes = np.ones((3000, len(sizes)), np.int32)

    def alternatives(rows, width):
        found = np.repeat(codes[rows, None], min(width, 50) + 1, axis=1)
        found[..., -1] = np.arange(found.shape[1])
        found[:, 0] = codes[rows]
        return found, np.broadcast_to(np.arange(found.shape[1], dtype=np.float32), found.shape[:2])

    moved = relocate(codes, np.arange(3000), sizes, alternatives)
    assert len(np.unique(moved, axis=0)) == 3000
    assert (moved == codes).all(axis=1).sum() == 1
    assert (moved[:, :-2] == 1).all()


def test_codes_that_are_unique_are_left_alone_and_nothing_is_asked():
    codes = numbered((3, 3))
    assert relocate(codes, np.arange(9), (3, 3), lambda rows, width: pytest.fail("asked")) is not codes
    np.testing.assert_array_equal(relocate(codes, np.arange(9), (3, 3), lambda rows, width: 1 / 0), codes)
