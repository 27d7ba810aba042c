"""History features come from a user's earlier ratings of warm items, and the share of cold items is as requested."""

import jax
import numpy as np
import pytest
from ranking_study.ratings import cold_items, make_examples, make_ratings

from sid_jax.errors import UserError
from sid_jax.streams import stream_rng
from tests.benchmarks.ranking_study.conftest import NUM_ITEMS, made_catalog


@pytest.fixture(scope="module")
def ratings():
    catalog = made_catalog()
    # Times are divided by 5 and rounded down, so that several ratings have the same time.
    catalog.ratings["timestamp"] //= 5
    return make_ratings(catalog, liked_from=4, until=1.0, train_share=0.8)


def test_the_test_is_later_than_what_is_trained_on(ratings):
    assert ratings.num_train == round(0.8 * len(ratings.items))
    assert (np.diff(ratings.times) >= 0).all()
    earlier = make_ratings(made_catalog(), liked_from=4, until=0.5, train_share=0.8)
    assert len(earlier.items) == len(ratings.items) // 2


def test_histories_are_of_earlier_seconds_and_of_no_cold_item(ratings):
    cold = cold_items(ratings, 0.2, 0, 0)
    found = make_examples(ratings, cold, window=3)
    trained = ~cold[ratings.items[: ratings.num_train]]
    mean = ratings.liked[: ratings.num_train][trained].mean()
    for row in range(0, len(ratings.items), 37):
        before = [
            other
            for other in range(len(ratings.items))
            if ratings.users[other] == ratings.users[row]
            and ratings.times[other] < ratings.times[row]
            and not cold[ratings.items[other]]
        ]
        last = before[::-1][:3]
        expected = [*ratings.items[last].tolist(), -1, -1, -1][:3]
        assert found.history[row].tolist() == expected
        assert found.history_liked[row].tolist() == [*ratings.liked[last].tolist(), False, False, False][:3]
        share = (ratings.liked[before].sum() + 5 * mean) / (len(before) + 5) - mean
        np.testing.assert_allclose(found.figures[row], [share, np.log1p(len(before))], rtol=1e-5, atol=1e-6)


def test_ratings_of_cold_items_say_nothing_to_anybody(ratings):
    cold = cold_items(ratings, 0.2, 0, 0)
    changed = make_ratings(made_catalog(), liked_from=4, until=1.0, train_share=0.8)
    changed = type(ratings)(**{**vars(ratings), "liked": ratings.liked ^ cold[ratings.items]})
    one, other = (make_examples(each, cold, window=5) for each in (ratings, changed))
    for name in ("history", "history_liked", "figures", "traits"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    kept = np.flatnonzero(~cold[ratings.items])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[kept], b[kept]), one, other)


def test_each_item_is_cold_in_one_of_as_many_runs_as_make_up_all(ratings):
    together = sum(cold_items(ratings, 0.25, run, 0).astype(int) for run in range(4))
    assert together.tolist() == [1] * NUM_ITEMS
    assert (cold_items(ratings, 0.25, 0, 0) != cold_items(ratings, 0.25, 4, 0)).any()
    # Items without a training rating are cold in every run.
    unseen = type(ratings)(**{**vars(ratings), "items": np.where(ratings.items == 7, 8, ratings.items)})
    assert all(cold_items(unseen, 0.25, run, 0)[7] for run in range(4))


@pytest.mark.parametrize("share", [0.15, 0.3, 0.4, 0.6, 0.7, 0.9])
def test_what_is_cold_is_the_share_that_was_asked_for(share, ratings):
    runs = np.stack([cold_items(ratings, share, run, 0) for run in range(2 * int(1 / share))])
    np.testing.assert_allclose(runs.sum(axis=1), share * NUM_ITEMS, atol=1)
    # The items are divided at random into disjoint groups. In each of these runs, a different group is cold, so no item
    # is cold twice.
    assert runs[: int(1 / share)].sum(axis=0).max() == 1


def test_what_the_published_figures_held_out_is_held_out_still(ratings):
    dealt = stream_rng(3, "cold_items").permutation(NUM_ITEMS)
    for run in range(5):
        assert np.flatnonzero(cold_items(ratings, 0.2, run, 3)).tolist() == np.flatnonzero(dealt % 5 == run).tolist()


def test_nothing_to_tell_apart_is_refused():
    with pytest.raises(UserError, match="nothing to predict"):
        make_ratings(made_catalog(), liked_from=1, until=1.0, train_share=0.8)
