from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.metrics.codes import (
    code_figures,
    distinct_rate,
    figures_of_counts,
    identical_items,
    max_distinct_rate,
    usage,
)

CODES = np.array([[0, 0], [0, 0], [0, 0], [1, 2], [1, 3], [1, 3], [2, 0], [2, 1]], np.int32)


def test_figures_by_hand():
    assert distinct_rate(CODES) == 5 / 8
    figures = code_figures(CODES, (4, 4))
    assert figures["distinct_rate"] == figures["collision_share"] == 5 / 8
    assert figures["largest_bucket"] == 3
    assert usage(CODES, (4, 4)) == [3 / 4, 1.0]
    assert usage(CODES, (3, 8)) == [1.0, 1 / 2]


def test_perplexity_by_hand():
    even, alone = code_figures(np.array([[0, 7], [1, 7], [2, 7], [3, 7]], np.int32), (4, 8))["perplexity"]
    assert even == pytest.approx(4.0)
    assert alone == 1.0
    # The shares 1/2, 1/4 and 1/4 have an entropy of 1.5 bits.
    assert code_figures(np.array([[0], [0], [1], [2]], np.int32), (9,))["perplexity"] == [pytest.approx(2**1.5)]


def test_max_distinct_rate_counts_rows_that_differ_in_one_bit():
    vectors = np.zeros((4, 3), np.float32)
    vectors[1, 2] = np.nextafter(np.float32(0), np.float32(1))
    assert max_distinct_rate(vectors) == 2 / 4
    assert max_distinct_rate(vectors.T) == 2 / 3  # not contiguous


def test_all_figures_are_ready_for_json():
    figures = code_figures(CODES, (4, 4), 0.75)
    assert json.loads(json.dumps(figures)) == figures
    assert figures["max_distinct_rate"] == 0.75
    assert set(figures) == {
        "distinct_rate",
        "max_distinct_rate",
        "collision_share",
        "largest_bucket",
        "usage",
        "perplexity",
        "gini",
        "entropy",
    }
    assert "max_distinct_rate" not in code_figures(CODES, (4, 4))
    assert figures["distinct_rate"] == distinct_rate(CODES)
    # The five buckets have the sizes 1, 1, 1, 2 and 3. The Gini coefficient is (-4 - 2 + 0 + 2 * 2 + 4 * 3) / (5 * 8).
    assert figures["gini"] == pytest.approx(1 / 4)
    shares = [np.array([3, 3, 2]) / 8, np.array([4, 1, 1, 2]) / 8]
    assert figures["entropy"] == pytest.approx([-(share * np.log2(share)).sum() for share in shares])
    assert {type(value) for value in (*figures["usage"], *figures["perplexity"])} == {float}


@pytest.mark.parametrize("sizes", [(4,), (4, 4, 4), (4, 3)])
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(
        ValueError, match="sizes are given for .* levels, but codes have 2|level 2 has the code 3, but its size is 3"
    ):
        usage(CODES, sizes)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=50))
def test_buckets_equal_a_count_of_tuples(tuples):
    codes = np.array(tuples, np.int32)
    counts = Counter(tuples)
    assert distinct_rate(codes) == len(counts) / len(tuples)
    figures = code_figures(codes, (4, 4))
    assert figures["distinct_rate"] == distinct_rate(codes)
    assert figures["largest_bucket"] == max(counts.values())
    assert figures["collision_share"] == sum(count for count in counts.values() if count > 1) / len(tuples)


def test_identical_items_are_found():
    vectors = np.arange(20, dtype=np.float32).reshape(10, 2)
    vectors[[3, 8]], vectors[7] = vectors[1], vectors[0]
    found = identical_items(vectors)
    assert (found["num_items"], found["num_groups"]) == (5, 2)
    assert [(each["size"], sorted(each["rows"])) for each in found["groups"]] == [(3, [1, 3, 8]), (2, [0, 7])]
    assert identical_items(vectors[:3])["groups"] == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=50), st.integers(1, 49))
def test_figures_of_parts_are_those_of_the_whole(tuples, cut):
    codes = np.array(sorted(tuples), np.int32)
    # The cut is between two buckets, so that each bucket is in one part.
    cut = np.flatnonzero(np.append((codes[1:] != codes[:-1]).any(axis=1), True))[min(cut, len(set(tuples))) - 1] + 1
    parts = [part for part in np.split(codes, [cut]) if len(part)]
    counts = [sum(np.bincount(part[:, level], minlength=4) for part in parts) for level in range(2)]
    buckets = [np.unique(np.unique(part, axis=0, return_counts=True)[1], return_counts=True) for part in parts]
    figures = figures_of_counts(counts, *np.concatenate(buckets, axis=1), 0.5)
    for name, value in code_figures(codes, (4, 4), 0.5).items():
        assert figures[name] == pytest.approx(value), name
