"""The rows of the embedding table for items and for unknown n-grams, compared with rows that were found by hand."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.errors import UserError
from sid_jax.features.kinds import hash_ids
from sid_jax.features.ngrams import NGRAMS, fit_ngrams, hash_numbers, load_ngrams

# Items 0 and 1 share a prefix of two codes. Item 2 shares only the first code with them, and item 3 shares no prefix.
IDS = np.array([[5, 1, 0], [5, 1, 2], [5, 0, 2], [0, 1, 2]], np.int32)
ITEMS = np.arange(4)


def rows(features, semantic_ids=IDS):
    found = features.rows_of(np.arange(len(semantic_ids)), np.asarray(semantic_ids))
    return [found.of(item).tolist() for item in range(len(found))]


def test_the_most_seen_prefixes_have_rows_of_their_own():
    features = fit_ngrams("prefix", IDS, np.array([1, 2, 3, 10]), num_rows=100)
    # The prefixes 0, 0-1 and 0-1-2 are seen ten times, 5 is seen six times, 5-0 and 5-1 three times, and so on.
    assert features.known.tolist() == [
        [0, -1, -1], [0, 1, -1], [0, 1, 2], [5, -1, -1], [5, 0, -1], [5, 0, 2], [5, 1, -1], [5, 1, 2], [5, 1, 0],
    ]  # fmt: skip
    assert rows(features) == [[4, 7, 9], [4, 7, 8], [4, 5, 6], [1, 2, 3]]


def test_a_budget_keeps_the_most_seen_and_row_0_is_for_those_who_have_none():
    features = fit_ngrams("prefix", IDS, np.array([1, 2, 3, 10]), num_rows=5)
    assert rows(features) == [[4], [4], [4], [1, 2, 3]]
    assert rows(features, [[7, 7, 7], [0, 1, 9]]) == [[0], [1, 2]]


def test_windows_and_single_codes_are_told_apart_by_their_level():
    windows = fit_ngrams("window", IDS, np.ones(4), num_rows=100, length=2)
    first, second, third, fourth = map(set, rows(windows))
    # The first and the second item have 5-1 in common, the second and the fourth have *-1-2.
    assert len(first & second) == 1 and len(second & fourth) == 1 and not first & third and not third & fourth
    codes = fit_ngrams("unigram", IDS, np.ones(4), num_rows=100)
    # The same code has different rows at different levels. Two codes are in use at each of the three levels.
    assert len(codes.known) == 2 + 2 + 2
    assert all(len(each) == 3 for each in rows(codes))
    with pytest.raises(UserError, match="from 1 to 3"):
        fit_ngrams("window", IDS, np.ones(4), num_rows=100, length=4)


def test_items_that_are_never_seen_get_no_row_and_change_none():
    some = fit_ngrams("prefix", IDS, np.array([1, 2, 0, 0]), num_rows=100)
    alone = fit_ngrams("prefix", IDS[:2], np.array([1, 2]), num_rows=100)
    assert some.known.tolist() == alone.known.tolist()
    # The third item has no impressions. Its only row is that of its first code, which it shares with the first item.
    assert rows(some)[2] == rows(some)[0][:1] and rows(some)[3] == [0]


def test_a_hash_gives_a_row_to_everything():
    features = fit_ngrams("prefix", IDS, np.ones(4), num_rows=7, hashed=True)
    first, second, third, _ = rows(features)
    assert first[:2] == second[:2] and first[0] == third[0]
    assert all(0 <= row < 7 for each in rows(features, [[9, 9, 9]]) for row in each)


@pytest.mark.parametrize("kind", NGRAMS)
@pytest.mark.parametrize("hashed", [False, True])
def test_ids_of_another_length_are_refused(kind, hashed, tmp_path):
    fit_ngrams(kind, IDS, np.ones(4), num_rows=9, hashed=hashed).save(tmp_path)
    features = load_ngrams(tmp_path)
    for num_levels in (2, 4):
        with pytest.raises(UserError, match=f"of 3 codes, but these IDs have {num_levels}"):
            features.rows_of(np.arange(1), np.zeros((1, num_levels), np.int32))


@given(
    hnp.arrays(np.int32, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.integers(0, 5)),
    st.sampled_from(["unigram", "prefix", "window"]),
    st.integers(2, 40),
    st.booleans(),
)
def test_no_row_is_beyond_the_budget_and_no_item_is_without(semantic_ids, kind, num_rows, hashed):
    length = min(2, semantic_ids.shape[1])
    features = fit_ngrams(kind, semantic_ids, np.ones(len(semantic_ids)), num_rows, length=length, hashed=hashed)
    found = features.rows_of(np.arange(len(semantic_ids)), semantic_ids)
    assert (found.lengths > 0).all() and found.rows.min() >= 0 and found.rows.max() < num_rows
    # Items with the same ID have the same rows.
    _, which = np.unique(semantic_ids, axis=0, return_inverse=True)
    padded = found.padded()
    for number in range(which.max() + 1):
        assert len(np.unique(padded[which.reshape(-1) == number], axis=0)) == 1


def test_hashes_are_even_and_the_same_in_every_process():
    numbers = np.stack(np.meshgrid(np.arange(100), np.arange(100)), axis=-1).reshape(-1, 2)
    counts = np.bincount((hash_numbers(numbers) % np.uint64(10)).astype(int))
    assert counts.min() > 850 and counts.max() < 1150
    assert hash_numbers(np.array([[1, 2]])) != hash_numbers(np.array([[2, 1]]))
    assert hash_ids(np.array([50]), 0) == hash_ids(np.array(["50"], object), 0) == np.uint64(12525836602579151652)
    assert hash_ids(np.array([50]), 1) != hash_ids(np.array([50]), 0)
