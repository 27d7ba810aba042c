from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sid_jax.config import default_config
from sid_jax.data import collaborative
from sid_jax.data.catalogs.movielens.tables import MovieLens, build_movielens
from sid_jax.data.collaborative import (
    _positive_information,
    collaborative_vectors,
    cooccurrence_vectors,
    join_side_by_side,
    leave_out_last,
    pair_counts,
    truncated_svd,
)
from sid_jax.data.inputs import as_histories
from sid_jax.data.named_parts import add_behavior
from sid_jax.data.scaling import apply_scaling, fit_scaling
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError
from tests.data.test_histories import make


def small_catalog(matrix: np.ndarray) -> MovieLens:
    """Returns a catalog with the ratings `[movies, users]` (0: not rated); each user rates movies in row order."""
    rows, columns = np.nonzero(matrix)
    ratings = {
        "user_id": columns + 10,
        "item_id": rows + 1,
        "rating": matrix[rows, columns],
        "timestamp": rows,
    }
    items, users = {"item_id": np.arange(matrix.shape[0]) + 1}, {"user_id": np.arange(matrix.shape[1]) + 10}
    return build_movielens(items, users, ratings, "here")


MATRIX = np.array([[5, 0, 1, 2], [4, 0, 0, 1], [1, 3, 0, 5], [0, 0, 2, 4], [0, 1, 3, 1]])


def assert_same_up_to_sign(found: np.ndarray, matrix: np.ndarray, dimension: int) -> None:
    left, singular_values, _ = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    expected = (left * singular_values)[:, :dimension]
    signs = np.sign(np.sum(found * expected, axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-5)


@pytest.mark.parametrize(("view", "matrix"), [("item", MATRIX), ("user", MATRIX.T)])
def test_vectors_are_those_of_a_dense_svd(view: str, matrix: np.ndarray):
    found = collaborative_vectors(small_catalog(MATRIX), view=view, dimension=2, holdout=0)
    assert found.dtype == np.float32
    assert_same_up_to_sign(found, matrix, 2)
    largest = found[np.abs(found).argmax(axis=0), [0, 1]]
    assert (largest > 0).all()


def test_every_run_gives_the_same_bits():
    matrix = sparse.random_array((40, 30), density=0.2, rng=np.random.default_rng(0)).tocsr()
    assert truncated_svd(matrix, 8).tobytes() == truncated_svd(matrix, 8).tobytes()


def test_histories_of_one_form_have_vectors_though_many_singular_values_are_equal():
    # Each of 60 users has five items that no other user has. ARPACK of SciPy 1.17 fails for the matrix of these
    # histories.
    counts = pair_counts(as_histories(list(np.arange(300).reshape(60, 5)), np.arange(300)))
    found = cooccurrence_vectors(counts, 64)
    assert found.shape == (300, 64) and np.isfinite(found).all()


def test_if_arpack_fails_a_small_matrix_gets_a_dense_svd_and_a_large_one_an_error(monkeypatch):
    matrix = sparse.random_array((40, 30), density=0.2, rng=np.random.default_rng(0)).tocsr()
    expected = truncated_svd(matrix, 8)

    def failing(*_: object, **__: object) -> None:
        raise sparse.linalg.ArpackError(3)

    monkeypatch.setattr(sparse.linalg, "svds", failing)
    np.testing.assert_allclose(truncated_svd(matrix, 8), expected, rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(collaborative, "_LARGEST_DENSE", 39)
    with pytest.raises(UserError, match="collaborative_dimension=8; set another number"):
        truncated_svd(matrix, 8)


def test_inner_products_of_rows_are_kept_where_the_rank_allows():
    generator = np.random.default_rng(1)
    low_rank = generator.normal(size=(12, 3)) @ generator.normal(size=(3, 9))
    vectors = truncated_svd(sparse.csr_array(low_rank), 5)
    np.testing.assert_allclose(vectors @ vectors.T, low_rank @ low_rank.T, atol=1e-4)


def test_an_item_that_nobody_rated_is_zero():
    matrix = MATRIX.copy()
    matrix[1] = 0
    found = collaborative_vectors(small_catalog(matrix), view="item", dimension=3, holdout=0)
    np.testing.assert_allclose(found[1], 0, atol=1e-6)


def test_each_users_last_ratings_are_left_out():
    ratings = small_catalog(MATRIX).ratings
    kept = leave_out_last(ratings, 1)
    pairs = set(zip(kept["user_id"].tolist(), kept["item_id"].tolist(), strict=True))
    assert pairs == {(10, 1), (10, 2), (11, 3), (12, 1), (12, 4), (13, 1), (13, 2), (13, 3), (13, 4)}


@settings(deadline=None)
@given(users=st.lists(st.integers(0, 5), min_size=1, max_size=40), holdout=st.integers(0, 4))
def test_a_user_with_n_ratings_keeps_the_first_n_minus_holdout(users: list[int], holdout: int):
    users = sorted(users)
    expected = [place for place, user in enumerate(users) if place - users.index(user) < users.count(user) - holdout]
    ratings = {"user_id": np.array(users), "place": np.arange(len(users))}
    if expected:
        assert leave_out_last(ratings, holdout)["place"].tolist() == expected
    else:
        with pytest.raises(UserError, match=f"collaborative_holdout={holdout}"):
            leave_out_last(ratings, holdout)


def test_vectors_do_not_know_what_is_left_out():
    changed = MATRIX.copy()
    changed[4, 3] = 5  # This is the last rating of the last user.
    assert (MATRIX[4, 3], changed[4, 3]) == (1, 5)
    before, after = (
        collaborative_vectors(small_catalog(matrix), view="item", dimension=2, holdout=1)
        for matrix in (MATRIX, changed)
    )
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("dimension", [0, 4, 64])
def test_a_dimension_out_of_range_is_refused(dimension: int):
    with pytest.raises(
        UserError,
        match=f"collaborative_dimension={dimension} is not possible for this catalog; set a number from 1 to 3",
    ):
        collaborative_vectors(small_catalog(MATRIX), view="item", dimension=dimension, holdout=0)


@pytest.mark.parametrize("holdout", [-1, 100])
def test_a_holdout_out_of_range_is_refused(holdout: int):
    with pytest.raises(UserError, match=f"collaborative_holdout={holdout}"):
        collaborative_vectors(small_catalog(MATRIX), view="item", dimension=2, holdout=holdout)


def test_joined_parts_weigh_the_same():
    text = np.array([[3.0, 4.0], [0.0, 5.0]], dtype=np.float32)
    ratings = np.array([[1000.0], [0.0]], dtype=np.float32)
    joined = join_side_by_side([text, ratings])
    np.testing.assert_allclose(joined, [[0.6, 0.8, np.sqrt(2)], [0.0, 1.0, 0.0]], rtol=1e-6)
    assert joined.dtype == np.float32


def test_pairs_count_by_their_distance_within_a_user():
    counts = pair_counts(make([0, 1, 2, 3, 4], [1, 0], [2, 2], num_items=6)).toarray()
    expected = np.zeros((6, 6))
    for one, other, weight in [(0, 1, 2), (1, 2, 1), (2, 3, 1), (3, 4, 1), (0, 2, 0.5), (1, 3, 0.5), (2, 4, 0.5)]:
        expected[one, other] = expected[other, one] = weight
    for one, other in [(0, 3), (1, 4)]:
        expected[one, other] = expected[other, one] = 1 / 3
    np.testing.assert_allclose(counts, expected)


def test_information_by_hand():
    """Items 0 and 1 co-occur four times, 0 and 2 once, so the items' totals are 5, 4 and 1."""
    counts = pair_counts(make(*[[0, 1]] * 4, [0, 2], num_items=3))
    information = _positive_information(counts).toarray()
    contexts = np.array([5, 4, 1]) ** 0.75
    assert information[0, 1] == pytest.approx(np.log(4 / 5 * contexts.sum() / contexts[1]))
    assert information[2, 0] == pytest.approx(np.log(contexts.sum() / contexts[0]))
    assert information[1, 2] == information[0, 0] == 0


def test_items_of_the_same_users_are_near_and_others_are_not():
    """Two groups of items without a common user, and an item without interactions."""
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
    with pytest.raises(
        UserError, match="data.collaborative_dimension=3 is not possible for this catalog; set a number from 1 to 2"
    ):
        cooccurrence_vectors(pair_counts(make([0, 1, 2], num_items=3)), 3)


def test_histories_of_single_items_are_refused():
    with pytest.raises(UserError, match="give longer histories"):
        pair_counts(make([0], [1], num_items=5))


def test_the_part_of_behavior_has_its_share_of_the_variance_and_says_nothing_where_nothing_is_known():
    rng = np.random.default_rng(0)
    vectors, second = (rng.normal(size=(50, features)).astype(np.float32) for features in (6, 3))
    second[7] = 0
    fitted = np.arange(50) != 9
    vectors[9] *= 1000
    data_config = default_config().data
    data_config.unit_norm = False
    data = VectorSet(np.arange(50), vectors, cold=~fitted)
    joined = add_behavior(data, second, data_config)
    np.testing.assert_array_equal(joined.vectors[:, :6], vectors)
    assert np.isnan(joined.vectors[7, 6:]).all() and np.isfinite(joined.vectors[:, :6]).all()
    assert [(part.name, part.weight) for part in joined.layout.parts] == [("vectors", 1.0), ("behavior", 0.5)]
    trained = joined.trained()
    scaling = fit_scaling(trained.vectors, unit_norm=False, center=True, standardize="global", layout=joined.layout)
    scaled = np.asarray(apply_scaling(scaling, joined.vectors))
    known = fitted & (np.arange(50) != 7)
    assert scaled[known, 6:].var(axis=0).sum() / scaled[fitted, :6].var(axis=0).sum() == pytest.approx(0.5, rel=1e-4)
    np.testing.assert_allclose(scaled[7, 6:], scaled[known, 6:].mean(axis=0), atol=1e-5)
