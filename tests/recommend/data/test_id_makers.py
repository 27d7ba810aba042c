from __future__ import annotations

import numpy as np
import pytest

from sid_jax.errors import UserError
from sid_jax.recommend.data.id_makers import KINDS, kmeans_ids, lsh_ids, make_ids, random_ids

NAMES = np.array([f"item {row}" for row in range(60)], dtype=object)


@pytest.fixture(scope="module")
def vectors():
    """Vectors near four points that are far from each other, 15 near each point."""
    draw = np.random.default_rng(0)
    corners = np.repeat(10 * np.eye(8)[:4], 15, axis=0)
    return (corners + 0.1 * draw.normal(size=(60, 8))).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_unique_of_one_length_and_a_function_of_the_seed(kind, vectors):
    table = make_ids(kind, NAMES, vectors, num_levels=2, num_codes=4, seed=3)
    assert (table.name, table.semantic_ids.dtype, table.semantic_ids.shape) == (kind, np.int32, (60, 3))
    assert table.item_ids.tolist() == NAMES.tolist()
    assert len(np.unique(table.semantic_ids, axis=0)) == 60
    assert table.semantic_ids.min() >= 0
    assert table.semantic_ids[:, :2].max() < 4
    again, other = (make_ids(kind, NAMES, vectors, num_levels=2, num_codes=4, seed=seed) for seed in (3, 4))
    assert again.fingerprint() == table.fingerprint() != other.fingerprint()


def test_random_codes_are_even_over_levels_and_codes():
    codes = random_ids(4000, 3, 8, seed=0)
    counts = np.stack([np.bincount(level, minlength=8) for level in codes.T])
    assert counts.shape == (3, 8)
    # The expected count of a code is 500, with a standard deviation of 21.
    assert 400 < counts.min() <= counts.max() < 600
    assert abs(np.corrcoef(codes.T)[0, 1]) < 0.1


def test_random_ids_need_no_vectors():
    assert make_ids("random", np.arange(5), None, num_levels=1, num_codes=2, seed=0).semantic_ids.shape == (5, 2)


def test_lsh_puts_each_half_of_the_items_on_its_side_of_the_middle():
    # All vectors are on the same side of the origin. Only planes through the center of the catalog separate them.
    angles = np.array([0.10, 0.11, 0.30, 0.31])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    codes = lsh_ids(vectors, 4, 2, seed=0)
    assert (codes[0] == codes[1]).all()
    assert (codes[2] == codes[3]).all()
    assert (codes[0] != codes[2]).all()


def test_lsh_codes_do_not_depend_on_the_lengths_of_vectors(vectors):
    lengths = np.linspace(1, 50, len(vectors), dtype=np.float32)[:, None]
    assert np.array_equal(lsh_ids(vectors * lengths, 2, 4, seed=0), lsh_ids(vectors, 2, 4, seed=0))


def test_lsh_uses_all_its_bits_and_differs_by_level():
    draw = np.random.default_rng(1).normal(size=(60, 8)).astype(np.float32)
    codes = lsh_ids(draw, 2, 4, seed=0)
    assert [sorted(set(level)) for level in codes.T.tolist()] == [list(range(4))] * 2
    assert not np.array_equal(codes[:, 0], codes[:, 1])


def test_lsh_with_one_code_has_no_planes(vectors):
    assert not lsh_ids(vectors, 2, 1, seed=0).any()


@pytest.mark.parametrize("num_codes", [0, 100])
def test_lsh_refuses_what_is_no_power_of_two(num_codes, vectors):
    with pytest.raises(UserError, match=f"cannot have {num_codes} codes.*power of two"):
        lsh_ids(vectors, 3, num_codes, seed=0)


def test_kmeans_finds_the_clusters_whatever_the_lengths_of_vectors(vectors):
    lengths = np.linspace(1, 50, len(vectors), dtype=np.float32)[:, None]
    codes = kmeans_ids(vectors * lengths, 2, 4, seed=0)
    first = codes[:, 0].reshape(4, 15)
    assert (first == first[:, :1]).all()
    assert sorted(first[:, 0].tolist()) == [0, 1, 2, 3]
    # The second level distinguishes the items of a cluster.
    assert len(set(codes[:15, 1].tolist())) > 1


def test_kmeans_on_a_sample_gives_all_items_codes(vectors, monkeypatch):
    monkeypatch.setattr("sid_jax.recommend.data.id_makers._KMEANS_SAMPLE_ITEMS", 60)
    first = kmeans_ids(np.repeat(vectors, 2, axis=0), 2, 4, seed=0)[:, 0].reshape(4, 30)
    assert (first == first[:, :1]).all()


def test_half_precision_vectors_are_read_as_float32(vectors):
    half = vectors.astype(np.float16)
    assert np.array_equal(lsh_ids(half, 2, 4, seed=0), lsh_ids(half.astype(np.float32), 2, 4, seed=0))


def test_an_unknown_kind_and_missing_vectors_are_refused():
    with pytest.raises(UserError, match="'hash'.*random, lsh, kmeans"):
        make_ids("hash", np.arange(5), None, num_levels=1, num_codes=2, seed=0)
    with pytest.raises(UserError, match="lsh IDs need item vectors"):
        make_ids("lsh", np.arange(5), None, num_levels=1, num_codes=2, seed=0)


@pytest.mark.parametrize("kind", ["lsh", "kmeans"])
def test_what_is_held_out_changes_no_other_item_s_id(kind, vectors):
    cold = np.arange(60) >= 50
    moved = vectors.copy()
    moved[50:] = -vectors[:10]
    sizes = {"num_levels": 2, "num_codes": 4, "seed": 0, "cold": cold}
    one, two = (make_ids(kind, NAMES, each, **sizes).semantic_ids for each in (vectors, moved))
    np.testing.assert_array_equal(one[:50], two[:50])
    assert (one[50:] != two[50:]).any()
