import numpy as np
import pytest

from sid_jax.data.cooccurrence import (
    _positive_information,
    cooccurrence_vectors,
    join_cooccurrences,
    pair_counts,
)
from sid_jax.errors import UserError
from tests.data.test_histories import make


def test_pairs_count_by_their_distance_within_a_user():
    counts = pair_counts(make([0, 1, 2, 3, 4], [1, 0], [2, 2], num_items=6)).toarray()
    expected = np.zeros((6, 6))
    for one, other, weight in [(0, 1, 2), (1, 2, 1), (2, 3, 1), (3, 4, 1), (0, 2, 0.5), (1, 3, 0.5), (2, 4, 0.5)]:
        expected[one, other] = expected[other, one] = weight
    for one, other in [(0, 3), (1, 4)]:
        expected[one, other] = expected[other, one] = 1 / 3
    np.testing.assert_allclose(counts, expected)


def test_information_by_hand():
    """Items 0 and 1 four times, 0 and 2 once: totals 5, 4, 1, and contexts to the power of 3/4."""
    counts = pair_counts(make(*[[0, 1]] * 4, [0, 2], num_items=3))
    information = _positive_information(counts).toarray()
    contexts = np.array([5, 4, 1]) ** 0.75
    assert information[0, 1] == pytest.approx(np.log(4 / 5 * contexts.sum() / contexts[1]))
    assert information[2, 0] == pytest.approx(np.log(contexts.sum() / contexts[0]))
    assert information[1, 2] == information[0, 0] == 0


def test_items_of_the_same_users_are_near_and_others_are_not():
    """Two groups of items that nobody mixes, and an item that nobody has."""
    rng = np.random.default_rng(0)
    histories = make(*[(5 * (user % 2) + rng.permutation(5)).tolist() for user in range(40)], num_items=11)
    vectors = cooccurrence_vectors(pair_counts(histories), 4)
    assert vectors.shape == (11, 4) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors[:10], axis=1), 1, rtol=1e-5)
    assert not vectors[10].any()
    cosines = vectors[:10] @ vectors[:10].T
    assert cosines[:5, :5].mean() > cosines[:5, 5:].mean() + 0.5
    np.testing.assert_array_equal(vectors, cooccurrence_vectors(pair_counts(histories), 4))


def test_more_dimensions_than_items_are_refused():
    with pytest.raises(UserError, match="data.collaborative_dimension=3: give a number from 1 to 2"):
        cooccurrence_vectors(pair_counts(make([0, 1, 2], num_items=3)), 3)


def test_histories_of_single_items_are_refused():
    with pytest.raises(UserError, match="give longer ones"):
        pair_counts(make([0], [1], num_items=5))


def test_the_second_part_has_its_share_of_the_variance_and_says_nothing_where_nothing_is_known():
    rng = np.random.default_rng(0)
    vectors, second = (rng.normal(size=(50, features)).astype(np.float32) for features in (6, 3))
    second[7] = 0
    fitted = np.arange(50) != 9
    vectors[9] *= 1000
    joined = join_cooccurrences(vectors, second, 0.5, fitted)
    np.testing.assert_array_equal(joined[:, :6], vectors)
    variances = joined[fitted].var(axis=0)
    assert variances[6:].sum() / variances[:6].sum() == pytest.approx(0.5, rel=1e-4)
    known = fitted & (np.arange(50) != 7)
    np.testing.assert_allclose(joined[7, 6:], joined[known, 6:].mean(axis=0), atol=1e-5)
