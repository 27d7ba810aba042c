import itertools

import jax
import numpy as np
import pytest

from sid_jax.quantize import beam
from sid_jax.quantize.beam import beam_codes, completed_codes
from sid_jax.quantize.nearest import assign_codes, sum_codewords


@pytest.fixture(scope="module")
def space():
    keys = jax.random.split(jax.random.key(0), 4)
    books = tuple(
        jax.random.normal(key, (size, 3)) / (level + 1)
        for level, (key, size) in enumerate(zip(keys, (4, 5, 3), strict=False))
    )
    return jax.random.normal(keys[3], (20, 3)), books


def test_a_beam_as_wide_as_all_tuples_lists_them_by_distance(space):
    latents, books = space
    codes, distances = beam_codes(latents, books, 1000)
    assert codes.shape == (20, 60, 3)
    every = np.array(list(itertools.product(range(4), range(5), range(3))))
    sums = np.asarray(sum_codewords(every, books))
    exact = np.square(np.asarray(latents)[:, None] - sums).sum(axis=-1)
    np.testing.assert_allclose(distances, np.sort(exact, axis=1), rtol=1e-4, atol=1e-5)
    assert all(len(np.unique(each, axis=0)) == 60 for each in np.asarray(codes))
    np.testing.assert_allclose(
        distances, np.square(np.asarray(latents)[:, None] - np.asarray(sum_codewords(codes, books))).sum(-1), atol=1e-4
    )


def test_a_beam_of_one_is_the_greedy_walk_and_a_wider_one_is_no_worse(space):
    latents, books = space
    narrow, far = beam_codes(latents, books, 1)
    np.testing.assert_array_equal(narrow[:, 0], assign_codes(latents, books))
    _, near = beam_codes(latents, books, 8)
    assert (np.asarray(near[:, 0]) <= np.asarray(far[:, 0]) + 1e-5).all() and (near[:, 0] < far[:, 0] - 1e-3).any()


@pytest.mark.parametrize("search", ["beam", "completed"])
def test_products_of_many_codewords_are_not_computed_for_all_pairs(monkeypatch, space, search):
    latents, books = space

    def found():
        jax.clear_caches()
        if search == "beam":
            return beam_codes(latents, books, 7)
        prefixes, distances = beam_codes(latents, books[:-1], 7)
        return completed_codes(latents, books, prefixes, distances, np.zeros((20, 7, 3), bool), 7)

    codes, distances = found()
    monkeypatch.setattr(beam, "_FEW_CODES", 2)
    assert beam._between(books[:1], books[1]) is None
    again, near = found()
    np.testing.assert_array_equal(again, codes)
    np.testing.assert_allclose(near, distances, rtol=1e-4, atol=1e-5)
    jax.clear_caches()


@pytest.mark.parametrize("width", [1, 5, 8, 9, 40])
def test_a_beam_is_the_same_however_many_vectors_are_searched_for(width):
    """There are more vectors than a chunk has rows, and the last chunk is not full."""
    keys = jax.random.split(jax.random.key(1), 4)
    books = [jax.random.normal(each, (16, 6)) / (level + 1) for level, each in enumerate(keys[:3])]
    latents = jax.random.normal(keys[3], (600, 6))
    codes, distances = beam_codes(latents, books, width)
    for first in range(0, 600, 100):
        part = slice(first, first + 100)
        some, near = beam_codes(latents[part], books, width)
        np.testing.assert_array_equal(codes[part], some)
        np.testing.assert_allclose(distances[part], near, rtol=1e-5)
    assert codes.shape == (600, width, 3) and (np.diff(distances, axis=1) >= 0).all()


@pytest.mark.parametrize("count", [1, 2, 8, 9, 30])
@pytest.mark.parametrize("num_vectors", [20, 300])
def test_completed_codes_are_the_nearest_of_all_that_are_not_excluded(space, num_vectors, count):
    latents, books = space
    latents = jax.numpy.tile(latents, (num_vectors // 20, 1)) + np.arange(num_vectors)[:, None] / num_vectors
    prefixes, distances = beam_codes(latents, books[:-1], 4)
    random = np.random.default_rng(count)
    excluded = random.random((num_vectors, 4, 3)) < 0.5
    codes, found = completed_codes(latents, books, prefixes, distances, excluded, count)
    assert codes.shape == (num_vectors, min(count, 12), 3) and codes.dtype == np.int32
    every = np.stack(
        [np.repeat(prefixes, 3, axis=1)[..., level] for level in range(2)] + [np.tile(np.arange(3), (num_vectors, 4))],
        axis=-1,
    )
    exact = np.square(np.asarray(latents)[:, None] - np.asarray(sum_codewords(every, books))).sum(axis=-1)
    exact = np.where(excluded.reshape(num_vectors, -1), np.inf, exact)
    np.testing.assert_allclose(found, np.sort(exact, axis=1)[:, :count], rtol=1e-4, atol=1e-5)
    sums = np.asarray(sum_codewords(codes, books))
    again = np.square(np.asarray(latents)[:, None] - sums).sum(axis=-1)
    np.testing.assert_allclose(np.where(np.isfinite(found), again, np.inf), found, rtol=1e-4, atol=1e-4)
    for row, near in zip(np.asarray(codes), np.isfinite(found), strict=True):
        assert len(np.unique(row[near], axis=0)) == near.sum()


def test_a_single_level_is_completed_without_prefixes(space):
    latents, (book, *_) = space
    prefixes, distances = beam_codes(latents, [], 4)
    assert prefixes.shape == (20, 1, 0)
    codes, found = completed_codes(latents, [book], prefixes, distances, np.zeros((20, 1, 4), bool), 4)
    wanted, near = beam_codes(latents, [book], 4)
    np.testing.assert_array_equal(codes, wanted)
    np.testing.assert_allclose(found, near, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("parents", "size", "count"), [(1, 256, 16), (16, 256, 16), (3, 7, 4), (5, 13, 32), (1, 3, 3)])
def test_the_highest_scores_found_in_groups_are_those_of_top_k(parents, size, count):
    random = np.random.default_rng(0)
    for scores in (random.normal(size=(40, parents * size)), random.integers(0, 9, (40, parents * size))):
        found = beam._top_k_by_groups(jax.numpy.asarray(scores, jax.numpy.float32), count)
        for got, wanted in zip(found, jax.lax.top_k(jax.numpy.asarray(scores, jax.numpy.float32), count), strict=True):
            np.testing.assert_array_equal(got, wanted)
