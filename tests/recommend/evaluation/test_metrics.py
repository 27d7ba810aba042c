from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.recommend.evaluation.metrics import coverage, entropy, ndcg_at, ranks, recall_at, reciprocal_rank, summary

LISTS = np.array([[3, 1, 2], [0, 3, -1], [2, 0, 1], [-1, -1, -1]], np.int32)
TARGETS = np.array([3, 3, 4, 0], np.int32)


def test_ranks_count_from_1_and_0_is_absent():
    found = ranks(LISTS, TARGETS)
    assert found.tolist() == [1, 2, 0, 0]
    assert found.dtype == np.int32


def test_a_place_without_an_item_hits_nothing():
    assert ranks(np.array([[-1, 2]]), np.array([-1])).tolist() == [0]


@pytest.mark.parametrize("row", [[3, 1, 3], [3, 3, -1]])
def test_a_hit_is_never_counted_twice(row: list[int]):
    with pytest.raises(ValueError, match="list 1 has item 3 more than once"):
        ranks(np.array([[1, 2, 3], row], np.int32), np.array([1, 3]))


def test_metrics_by_hand():
    found = np.array([1, 2, 5, 6, 0], np.int32)
    assert recall_at(found, 5).tolist() == [1, 1, 1, 0, 0]
    assert recall_at(found, 1).tolist() == [1, 0, 0, 0, 0]
    np.testing.assert_allclose(ndcg_at(found, 5), [1, 1 / math.log2(3), 1 / math.log2(6), 0, 0])
    np.testing.assert_allclose(reciprocal_rank(found), [1, 1 / 2, 1 / 5, 1 / 6, 0])


def test_coverage_and_entropy_by_hand():
    lists = np.array([[0, 1], [0, 2], [0, -1], [0, 3]], np.int32)
    assert coverage(lists, 8) == 4 / 8
    shares = [4 / 7, 1 / 7, 1 / 7, 1 / 7]
    assert entropy(lists) == pytest.approx(-sum(share * math.log2(share) for share in shares))
    assert entropy(np.array([[0], [1], [2], [3]])) == 2
    assert str(entropy(np.array([[5], [5]]))) == "0.0"
    assert coverage(np.full((2, 3), -1), 8) == entropy(np.full((2, 3), -1)) == 0


@given(st.integers(1, 8), st.integers(10, 14), st.integers(0, 2**32 - 1))
def test_summary_is_what_a_loop_counts(num_users: int, k: int, seed: int):
    random = np.random.default_rng(seed)
    lists = np.stack([random.permutation(16)[:k] for _ in range(num_users)]).astype(np.int32)
    lists[:, k - random.integers(3) :] = -1
    targets = random.integers(0, 16, num_users).astype(np.int32)
    pairs = zip(lists.tolist(), targets.tolist(), strict=True)
    places = [row.index(target) + 1 if target in row else math.inf for row, target in pairs]
    found = summary(lists, targets, 16)
    wanted = {
        "recall@5": sum(place <= 5 for place in places),
        "recall@10": sum(place <= 10 for place in places),
        "ndcg@5": sum(1 / math.log2(place + 1) for place in places if place <= 5),
        "ndcg@10": sum(1 / math.log2(place + 1) for place in places if place <= 10),
        "mrr": sum(1 / place for place in places),
    }
    for name, total in wanted.items():
        assert found[name] == pytest.approx(total / num_users)
    assert found["coverage@10"] == len(set(lists[:, :10].ravel().tolist()) - {-1}) / 16
    assert found["entropy@10"] == entropy(lists[:, :10])
    assert len(found) == 7


@pytest.mark.parametrize("shape", [(2, 9), (0, 10)])
def test_lists_too_short_for_a_summary_are_refused(shape: tuple[int, int]):
    with pytest.raises(ValueError, match="k >= 10"):
        summary(np.full(shape, -1), np.zeros(shape[0], int), 5)
