from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.errors import UserError
from sid_jax.ids.unique import append_suffix, extend_ids


def test_every_item_gets_the_token_and_a_bucket_is_numbered_by_id():
    codes = np.array([[1, 2], [0, 5], [1, 2], [1, 2]], np.int32)
    semantic_ids = append_suffix(codes, np.array([10, 7, 9, 100]))
    assert semantic_ids.dtype == np.int32
    assert semantic_ids.tolist() == [[1, 2, 1], [0, 5, 0], [1, 2, 0], [1, 2, 2]]


def test_strings_are_ordered_by_code_point_not_by_number_or_locale():
    codes = np.zeros((5, 1), np.int32)
    ids = np.array(["é", "10", "9", "a", "Z"], dtype=object)
    assert append_suffix(codes, ids)[:, 1].tolist() == [4, 0, 1, 3, 2]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40), st.randoms())
def test_unique_minimal_and_independent_of_the_row_order(pairs, random):
    codes = np.array(pairs, np.int32)
    ids = np.array(random.sample(range(-100, 100), len(pairs)))
    semantic_ids = append_suffix(codes, ids)
    assert np.array_equal(semantic_ids[:, :-1], codes)
    assert len({tuple(row) for row in semantic_ids.tolist()}) == len(pairs)
    for pair in set(pairs):
        bucket = sorted((item, row[-1]) for item, row in zip(ids, semantic_ids, strict=True) if tuple(row[:2]) == pair)
        assert [suffix for _, suffix in bucket] == list(range(len(bucket)))
    shuffled = random.sample(range(len(pairs)), len(pairs))
    assert np.array_equal(append_suffix(codes[shuffled], ids[shuffled]), semantic_ids[shuffled])


@pytest.mark.parametrize("ids", [np.array([4, 5, 4]), np.array(["a", "b", "a"], dtype=object)])
def test_two_items_with_one_id_are_refused(ids):
    with pytest.raises(UserError, match="4|'a'"):
        append_suffix(np.array([[0], [1], [2]], np.int32), ids)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\)"):
        append_suffix(np.zeros((2, 3), np.int32), np.arange(3))


@pytest.mark.parametrize(
    ("capacity", "words"), [(1, "1 free IDs out of 4"), (2, "5 free places .2 for each ID. out of 8")]
)
def test_more_new_items_than_places_are_refused(capacity, words):
    published = np.array([[0, 0], [0, 1], [1, 0]], np.int32)
    new = np.zeros((6, 2), np.int32)
    with pytest.raises(UserError, match=f"new items is 6, but 2 levels of .2, 2. codes have only {words}"):
        extend_ids("relocate", new, np.arange(6), (2, 2), None, published, capacity=capacity)
