"""AUC computed by hand: unweighted, weighted, and on bootstrap samples."""

import numpy as np
import pytest
from ranking_study.auc import Draws, auc
from ranking_study.compare import measure


def by_pairs(scores, liked, weights):
    """Returns AUC by definition, over all pairs of a liked and a not liked rating.

    AUC is the share of the pairs in which the liked rating has the higher score. A tie counts as half a pair.
    """
    won = total = 0.0
    for i in np.flatnonzero(liked):
        for j in np.flatnonzero(~liked):
            total += weights[i] * weights[j]
            won += weights[i] * weights[j] * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
    return won / total


def test_by_hand_ties_count_half():
    # Of the four pairs of a liked and a not liked score, 3 > 1, 3 > 2 and 2 > 1 are in order, and 2 = 2 counts half.
    assert auc(np.array([1.0, 2, 2, 3]), np.array([False, False, True, True])) == pytest.approx([3.5 / 4])
    assert auc(np.array([1.0, 1, 1]), np.array([True, False, False])) == [0.5]
    assert auc(np.array([1.0, 2]), np.array([True, False])) == [0]


def test_against_the_definition():
    random = np.random.default_rng(0)
    scores = random.integers(0, 8, 50).astype(float)
    liked = random.random(50) < 0.4
    weights = random.integers(0, 3, (5, 50)).astype(float)
    np.testing.assert_allclose(auc(scores, liked), [by_pairs(scores, liked, np.ones(50))])
    np.testing.assert_allclose(auc(scores, liked, weights), [by_pairs(scores, liked, each) for each in weights])


def test_without_likes_there_is_none():
    assert np.isnan(auc(np.array([1.0, 2]), np.array([False, False]))).all()


def test_draws_are_of_users_and_items_and_the_same_for_all():
    draws = Draws.of(30, 20, 50)
    assert (draws.of_users.sum(axis=1) == 30).all() and (draws.of_items.sum(axis=1) == 20).all()
    np.testing.assert_array_equal(draws.of_users, Draws.of(30, 20, 50).of_users)
    random = np.random.default_rng(0)
    users, items = random.integers(0, 30, 200), random.integers(0, 20, 200)
    scores, liked = random.random(200), random.random(200) < 0.5
    found = draws.auc(scores, liked, users, items)
    weights = draws.of_users[7, users].astype(float) * draws.of_items[7, items]
    assert found.shape == (50,) and found[7] == pytest.approx(by_pairs(scores, liked, weights))


def test_what_is_better_is_found_to_be_and_what_is_the_same_is_not():
    random = np.random.default_rng(0)
    users, items = random.integers(0, 60, 1500), random.integers(0, 80, 1500)
    liked = random.random(1500) < 0.5
    noise = random.normal(size=(3, 1500))
    cold = random.random((3, 80)) < 0.3
    draws = Draws.of(60, 80, 100)
    good, bad = (measure(noise + gain * liked, liked, users, items, cold, draws) for gain in (1.0, 0.0))
    for name in ("all", "seen", "cold"):
        difference, low, high = good[name].minus(bad[name])
        assert 0 < low < difference < high
        assert good[name].minus(good[name]) == (0, 0, 0)
        low, high = bad[name].interval()
        assert low < 0.5 < high
    # For the second run and its cold items, the AUC is also computed by comparing all pairs.
    mask = cold[1, items]
    assert good["cold"].runs[1] == pytest.approx(by_pairs((noise[1] + liked)[mask], liked[mask], np.ones(mask.sum())))
