"""Metrics of IDs computed by hand, and compared with chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.metrics.codes import code_figures
from sid_jax.metrics.ids import (
    explained_beyond_chance,
    explained_by_prefix,
    prefix_buckets,
    prefixes_in_use,
    purity,
    same_prefix_by_chance,
    stability,
)

IDS = np.array([[0, 0], [0, 0], [0, 1], [2, 1]], np.int32)


def test_figures_by_hand():
    assert prefix_buckets(IDS, 0).tolist() == [0, 0, 0, 0]
    assert prefix_buckets(IDS, 1).tolist() == [0, 0, 0, 1]
    assert prefix_buckets(IDS, 2).tolist() == [0, 0, 1, 2]
    # The buckets have the sizes 1, 1 and 2. The Gini coefficient is (-2 * 1 + 0 * 1 + 2 * 2) / (3 * 4).
    assert code_figures(IDS, (3, 2))["gini"] == pytest.approx(1 / 6)
    # The codes have the shares 3/4 and 1/4 at the first level, 1/2 and 1/2 at the second.
    assert code_figures(IDS, (3, 2))["entropy"] == pytest.approx([2 - 0.75 * np.log2(3), 1.0])
    assert prefixes_in_use(IDS, (3, 2)) == [{"in_use": 2, "most": 3}, {"in_use": 3, "most": 4}]
    # Of the twelve ordered pairs of items, six have the same first code: the pairs of the first three items. Two have
    # the same two codes: the pairs of the first two items.
    assert same_prefix_by_chance(IDS) == [pytest.approx(6 / 12), pytest.approx(2 / 12)]


def test_variance_between_prefixes_by_hand():
    vectors = np.array([[0.0], [2.0], [4.0], [6.0]], np.float32)
    # The mean of the items is 3. The sum of squares around it is 9 + 1 + 1 + 9. Groups of items with the same first
    # code have the means 2 and 6. Groups with the same two codes have the means 1, 4 and 6.
    assert explained_by_prefix(IDS, vectors) == pytest.approx([(3 * 1 + 9) / 20, (2 * 4 + 1 + 9) / 20])
    unique = np.arange(4, dtype=np.int32)[:, None]
    assert explained_by_prefix(unique, vectors) == pytest.approx([1.0])


def test_variance_beyond_chance_by_hand_and_for_prefixes_that_say_nothing():
    vectors = np.array([[0.0], [2.0], [4.0], [6.0]], np.float32)
    # The explained shares are 12 / 20 and 18 / 20, as in the previous test. Their chance levels are 1 / 3 with two
    # groups and 2 / 3 with three groups.
    assert explained_beyond_chance(IDS, vectors) == pytest.approx([(12 / 20 - 1 / 3) * 3 / 2, (18 / 20 - 2 / 3) * 3])
    assert explained_beyond_chance(np.arange(4)[:, None], vectors) == [0.0]
    random = np.random.default_rng(0)
    vectors = random.normal(size=(500, 8)).astype(np.float32)
    ids = np.stack([random.geometric(0.2, 500), random.integers(0, 6, 500)], axis=1)
    exchanged = [explained_beyond_chance(random.permutation(ids), vectors) for _ in range(20)]
    assert np.mean(exchanged, axis=0) == pytest.approx([0, 0], abs=0.01)
    assert explained_beyond_chance(ids, ids[:, :1].astype(np.float32))[0] == pytest.approx(1.0)


def test_purity_by_hand_and_chance_where_buckets_say_nothing():
    labels = [["a"], ["a", "b"], ["b"], ["c"]]
    # Under prefix 0, two of three items have the label a, and two have b. Under prefix 2, the only item has c.
    assert [each["purity"] for each in purity(IDS, labels)] == pytest.approx([3 / 4, 1.0])
    assert purity(IDS, [[], [], [], []]) == []
    assert purity(IDS, [["a"], [], [], ["b"]])[0]["purity"] == 1.0
    random = np.random.default_rng(0)
    ids = random.integers(0, 20, (4000, 1)).astype(np.int32)
    figures = purity(ids, [[str(each)] for each in random.integers(0, 5, 4000)])[0]
    assert figures["purity"] == pytest.approx(figures["chance"], abs=0.01)
    meaning = purity(ids, [[str(each)] for each in ids[:, 0] % 5])[0]
    assert meaning["purity"] == 1.0 and meaning["chance"] < 0.3


@given(st.integers(0, 2**32 - 1))
def test_stability_does_not_mind_other_names(seed):
    random = np.random.default_rng(seed)
    ids = random.integers(0, 6, (50, 2)).astype(np.int32)
    renamed = random.permutation(9)[ids[:, :1]].astype(np.int32)
    assert stability(ids, renamed) == 1.0
    renamed[:5] = renamed[5:10]
    assert 0.9 <= stability(ids, renamed) == stability(renamed, ids)


def test_stability_by_hand():
    assert stability(np.array([[0], [0], [1]]), np.array([[5], [7], [7]])) == pytest.approx(2 / 3)
