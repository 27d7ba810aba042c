import itertools

import jax
import numpy as np
import pytest

from sid_jax.quantize.beam import beam_codes
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
