from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.data.histories import Histories, item_counts
from sid_jax.recommend import baselines
from sid_jax.recommend.baselines import ItemKNN, Popularity, SemanticKNN, Transitions, cosine_neighbors, top_items
from sid_jax.recommend.batch import HistoryBatch
from tests.data.test_histories import make

# The users of item 0 are 0, 1 and 2. The users of item 1 are 0 and 1, and the users of item 2 are 1, 2 and 3. Item 3
# has only user 3, and item 4 has no user.
TRAIN = make([0, 1, 0], [1, 0, 2], [2, 0], [2, 3], num_items=5)
SIMILARITIES = np.zeros((5, 5))
SIMILARITIES[0, 1] = SIMILARITIES[1, 0] = 2 / math.sqrt(3 * 2)
SIMILARITIES[0, 2] = SIMILARITIES[2, 0] = 2 / math.sqrt(3 * 3)
SIMILARITIES[1, 2] = SIMILARITIES[2, 1] = 1 / math.sqrt(2 * 3)
SIMILARITIES[2, 3] = SIMILARITIES[3, 2] = 1 / math.sqrt(3 * 1)


def batch(histories: np.ndarray, lengths: np.ndarray) -> HistoryBatch:
    return HistoryBatch(histories, lengths, np.zeros_like(lengths))


def padded(*histories: list[int], window: int = 4) -> tuple[np.ndarray, np.ndarray]:
    return make(*histories).padded(np.arange(len(histories)), window)


def test_popularity_counts_interactions():
    assert item_counts(TRAIN).tolist() == [4, 2, 3, 1, 0]


def test_popular_lists_are_the_same_for_all_but_for_what_is_excluded():
    recommender = Popularity(TRAIN)
    asked = batch(*padded([3], [0, 2]))
    assert recommender.recommend(asked, 3).tolist() == [[0, 2, 1], [0, 2, 1]]
    exclude = np.array([[0, -1], [2, 1]], np.int32)
    found = recommender.recommend(asked, 3, exclude)
    assert found.tolist() == [[2, 1, 3], [0, 3, -1]]
    assert found.dtype == np.int32
    # Exclusions of one batch do not affect the next one.
    assert recommender.recommend(asked, 6).tolist() == [[0, 2, 1, 3, -1, -1]] * 2


def test_similarities_by_hand():
    np.testing.assert_allclose(cosine_neighbors(TRAIN, 4).toarray(), SIMILARITIES)


def test_only_the_nearest_neighbors_are_kept():
    found = cosine_neighbors(TRAIN, 1).toarray()
    wanted = np.zeros((5, 5))
    for item, neighbor in ((0, 1), (1, 0), (2, 0), (3, 2)):
        wanted[item, neighbor] = SIMILARITIES[item, neighbor]
    np.testing.assert_allclose(found, wanted)


def test_neighbors_that_tie_are_the_lowest_items():
    found = cosine_neighbors(make([0, 1, 2, 3], num_items=4), 2)
    assert [np.flatnonzero(row).tolist() for row in found.toarray()] == [[1, 2], [0, 2], [0, 1], [0, 1]]


def test_knn_sums_similarities_to_the_history():
    recommender = ItemKNN(TRAIN)
    asked = batch(*padded([1], [3, 3], [0, 3], [4]))
    # The history [1] gives item 0 the score .82, and item 2 the score .41. The history [0, 3] gives item 1 the score
    # .82, and item 2 the score .67 + .58. A 0 in the padding is not an item of the history.
    assert recommender.recommend(asked, 3).tolist() == [
        [0, 2, -1],
        [2, -1, -1],
        [2, 1, -1],
        [-1, -1, -1],
    ]
    exclude = np.array([[0], [-1], [2], [-1]], np.int32)
    assert recommender.recommend(asked, 2, exclude).tolist() == [
        [2, -1],
        [2, -1],
        [1, -1],
        [-1, -1],
    ]


def test_shrinkage_and_decay_by_hand():
    found = cosine_neighbors(TRAIN, 4, 2.0).toarray()
    assert found[0, 1] == pytest.approx(2 / (math.sqrt(6) + 2)) and found[2, 3] == pytest.approx(1 / (math.sqrt(3) + 2))
    # Item 1 adds .82 to the score of item 0, and item 2 adds .58 to the score of item 3. The first item of the history
    # counts half.
    asked = batch(*padded([2, 1], [1, 2]))
    found = ItemKNN(TRAIN, decay=0.5).recommend(asked, 5, np.array([[1, 2], [1, 2]], np.int32))
    assert found.tolist() == [[0, 3, -1, -1, -1], [0, 3, -1, -1, -1]]


def test_what_follows_is_recommended_by_hand():
    train = make([0, 1, 2], [0, 1], num_items=4)
    # The weights of the transitions are 1 / sqrt(2) for 1 -> 2, .6 * 2 / (sqrt(2) * 2 ** .3) = .69 for 1 -> 0,
    # .6 / 2 ** .3 for 2 -> 1, and .9 * .6 / 2 ** .3 for 2 -> 0.
    transitions = Transitions(train)
    asked = batch(*padded([1], [2], [1, 2], [3], [2, 2]))
    assert transitions.recommend(asked, 3).tolist() == [
        [2, 0, -1],
        [1, 0, -1],
        [0, 1, 2],
        [-1, -1, -1],
        [1, 0, -1],
    ]
    assert transitions.recommend(asked, 2, np.array([[2]] * 5, np.int32)).tolist()[0] == [0, -1]


def test_a_repeated_item_counts_once():
    recommender = ItemKNN(TRAIN)
    one, other = padded([3, 1]), padded([3, 1, 3, 3])
    assert (
        recommender.recommend(batch(*one), 5).tolist()
        == recommender.recommend(batch(*other), 5).tolist()
        == [[2, 0, -1, -1, -1]]
    )


def by_loops(train: Histories, num_neighbors: int) -> np.ndarray:
    num_items = len(train.item_ids)
    users = [{user for user in range(len(train)) if item in train.of(user)} for item in range(num_items)]
    found = np.zeros((num_items, num_items))
    for item in range(num_items):
        cosines = {
            other: len(users[item] & users[other]) / math.sqrt(len(users[item]) * len(users[other]))
            for other in range(num_items)
            if other != item and users[item] & users[other]
        }
        for other in sorted(cosines, key=lambda other: (-cosines[other], other))[:num_neighbors]:
            found[item, other] = cosines[other]
    return found


@given(st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=1, max_size=8), st.integers(1, 10))
def test_neighbors_are_what_loops_find(sequences: list[list[int]], num_neighbors: int):
    train = make(*sequences)
    np.testing.assert_allclose(cosine_neighbors(train, num_neighbors).toarray(), by_loops(train, num_neighbors))


def test_blocks_of_items_make_no_difference(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(0)
    train = make(*(random.integers(0, 10, 6).tolist() for _ in range(20)))
    whole = cosine_neighbors(train, 4).toarray()
    monkeypatch.setattr(baselines, "_BLOCK_ITEMS", 3)
    np.testing.assert_array_equal(cosine_neighbors(train, 4).toarray(), whole)


@given(st.integers(1, 5), st.integers(1, 12), st.integers(1, 14), st.integers(0, 2**32 - 1))
def test_top_items_are_what_sorting_finds(num_lists: int, num_items: int, k: int, seed: int):
    random = np.random.default_rng(seed)
    scores = random.integers(0, 4, (num_lists, num_items))
    exclude = random.integers(-1, num_items, (num_lists, 3)).astype(np.int32)
    wanted = []
    for row, unwanted in zip(scores.tolist(), exclude.tolist(), strict=True):
        items = [item for item in range(num_items) if row[item] > 0 and item not in unwanted]
        wanted.append((sorted(items, key=lambda item, row=row: (-row[item], item)) + [-1] * k)[:k])  # type: ignore[misc]
    assert top_items(scores, k, exclude).tolist() == wanted


def test_what_is_like_the_last_items_comes_first():
    content = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0], [0.6, 0.8]], np.float32)
    asked = batch(*padded([0], [0, 2], [2, 0]))
    found = SemanticKNN(content).recommend(asked, 5)
    # In the history [0, 2], items 0 and 2 have weights in the ratio .7 : 1. In the history [2, 0], the ratio is 1 : .7.
    assert found.tolist() == [[0, 1, 4, 2, 3], [4, 1, 2, 0, 3], [1, 4, 0, 2, 3]]
    some = SemanticKNN(content, np.array([False, True, False, True, True]))
    assert some.recommend(asked, 3, np.array([[1], [-1], [4]], np.int32)).tolist() == [
        [4, 3, -1],
        [4, 1, 3],
        [1, 3, -1],
    ]
