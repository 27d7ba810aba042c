import jax
import numpy as np
import pytest

from sid_jax.data.collaborative import pair_counts
from sid_jax.data.relations import Partners, draw_partners
from tests.data.test_histories import make


def drawn(partners, items, key=0):
    rows, found = draw_partners(jax.random.key(key), partners, np.asarray(items, np.int32))
    return np.asarray(rows), np.asarray(found)


def test_a_partner_is_drawn_by_how_often_it_is_taken_with_the_item():
    """Item 0 is next to item 1 twice, next to item 3 once, and two positions from item 2. Item 4 is in no history."""
    partners = Partners.of(pair_counts(make([0, 1], [1, 0, 3, 2], num_items=5)))
    rows, found = drawn(partners, np.repeat([0, 4], 20_000))
    shares = np.bincount(rows[:20_000], minlength=5) / 20_000
    np.testing.assert_allclose(shares, np.array([0, 2, 0.5, 1, 0]) / 3.5, atol=0.015)
    assert found[:20_000].all()
    assert not found[20_000:].any() and (rows[20_000:] == 4).all()


def test_another_key_draws_others_and_the_same_key_the_same():
    partners = Partners.of(pair_counts(make(list(range(20)), num_items=20)))
    items = np.arange(20)
    np.testing.assert_array_equal(drawn(partners, items)[0], drawn(partners, items)[0])
    assert not np.array_equal(drawn(partners, items)[0], drawn(partners, items, key=1)[0])


def test_items_that_are_left_out_take_their_row_with_them():
    partners = Partners.of(pair_counts(make([0, 2], [3, 4], num_items=5)))
    fewer = partners.among(np.array([True, False, True, True, True]))
    rows, found = drawn(fewer, [0, 1, 2, 3])
    np.testing.assert_array_equal(rows, [1, 0, 3, 2])
    assert found.all()


def test_more_pairs_than_whole_numbers_keep_their_shares():
    counts = pair_counts(make([0, 1], [0, 2], num_items=3))
    counts.data[:] = [3e9, 1e9, 3e9, 1e9]
    partners = Partners.of(counts)
    assert partners.ends[-1] <= 2**31 - 1 and (np.diff(partners.bounds) > 0).all()
    assert np.mean(drawn(partners, np.zeros(4000))[0] == 1) == pytest.approx(0.75, abs=0.03)


def test_weights_that_round_up_do_not_overflow_and_those_that_round_to_nothing_keep_the_items_share(monkeypatch):
    monkeypatch.setattr("sid_jax.data.relations._LARGEST", 10)
    partners = Partners.of(pair_counts(make(*[[0, 1], [2, 3], [4, 5]] * 3, num_items=6)))
    # Each item has one pair, of weight 3. The total of 18 is scaled to 10, so the cumulative sums of the weights are
    # 1.67, 3.33, 5, ... before they are rounded.
    np.testing.assert_array_equal(partners.bounds, [0, 2, 3, 5, 7, 8, 10])
