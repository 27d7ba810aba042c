from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_jax.tokens.embeddings import embeddings_of_codewords, initial_embeddings


def test_by_hand():
    # The items with first code 0 have the mean 1, and those with first code 1 have the mean 5. The mean of all items
    # is 3. The differences of the items from the means of their first codes are -1, 1, -2 and 2.
    ids = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    items = np.array([[0.0], [2.0], [3.0], [7.0]])
    assert initial_embeddings(ids, (2, 2), items).ravel().tolist() == [1.0, 5.0, 1.5, 4.5]


def brute_force(ids, sizes, items):
    center = items.mean(axis=0)
    residuals, tokens = items - center, []
    for level, size in enumerate(sizes):
        means = np.stack(
            [residuals[ids[:, level] == code].mean(axis=0) if (ids[:, level] == code).any() else np.full(3, np.nan)
             for code in range(size)]
        )  # fmt: skip
        residuals = residuals - means[ids[:, level]]
        tokens.append(center + means)
    return np.concatenate(tokens)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 40), st.integers(0, 2**16))
def test_each_level_takes_the_mean_of_what_those_before_leave(sizes, num_items, seed):
    random = np.random.default_rng(seed)
    ids = np.stack([random.integers(0, size, num_items) for size in sizes], axis=1)
    items = random.normal(size=(num_items, 3))
    expected, found = brute_force(ids, sizes, items), initial_embeddings(ids, sizes, items)
    used = ~np.isnan(expected[:, 0])
    np.testing.assert_allclose(found[used], expected[used], atol=1e-5)
    assert found.dtype == np.float32 and np.isfinite(found).all()


def made(seed=0):
    random = np.random.default_rng(seed)
    ids = random.integers(0, 4, (500, 3))
    # No item has code 3 of the second level. The vectors do not depend on the code of the third level.
    ids[:, 1] %= 3
    return ids, random.normal(size=(4, 16))[ids[:, 0]] + 0.5 * random.normal(size=(3, 16))[ids[:, 1]]


def test_the_tokens_of_an_id_say_together_what_its_item_does_and_no_two_are_alike():
    ids, items = made()
    tokens = initial_embeddings(ids, (4, 4, 4), items, num_content_levels=2)
    mean = items.mean(axis=0)
    of_items = tokens[ids[:, 0]] + tokens[4 + ids[:, 1]] - mean
    assert np.square(of_items - items).sum() < 1e-3 * np.square(items - mean).sum()
    distances = np.linalg.norm(tokens[:, None] - tokens[None], axis=-1) + np.eye(12)
    assert distances.min() > 0.1


def test_with_the_models_own_embeddings_new_tokens_lie_as_they_do():
    ids, items = made()
    old = np.random.default_rng(1).normal(3.0, 0.02, size=(1000, 16))
    tokens = initial_embeddings(ids, (4, 4, 4), items, vocabulary_embeddings=old, num_content_levels=2)
    center, spread = old.mean(axis=0), 0.02 * 4
    for level in range(3):
        own = tokens[4 * level : 4 * level + 4] - center
        assert np.sqrt(np.square(own).sum(axis=1).mean()) == pytest.approx(spread, rel=0.35)
    # The embeddings are scaled, but not rotated.
    plain = initial_embeddings(ids, (4, 4, 4), items)[:4] - items.mean(axis=0)
    cosines = (
        (plain * (tokens[:4] - center)).sum(1)
        / np.linalg.norm(plain, axis=1)
        / np.linalg.norm(tokens[:4] - center, axis=1)
    )
    np.testing.assert_allclose(cosines, 1, atol=1e-4)


def test_items_embeddings_may_lie_in_a_file_and_the_seed_decides(tmp_path):
    ids, items = made()
    np.save(tmp_path / "items.npy", items)
    mapped = np.load(tmp_path / "items.npy", mmap_mode="r")
    one, other = (initial_embeddings(ids, (4, 4, 4), each, num_content_levels=2) for each in (items, mapped))
    np.testing.assert_array_equal(one, other)
    another = initial_embeddings(ids, (4, 4, 4), items, num_content_levels=2, seed=1)
    np.testing.assert_array_equal(one[:7], another[:7])
    assert not np.isclose(one[7:], another[7:]).any()


def test_items_without_an_embedding_are_left_out_of_all_means():
    ids, items = made()
    items[::3], items[ids[:, 0] == 2] = np.nan, np.nan
    known = np.isfinite(items[:, 0])
    found = initial_embeddings(ids, (4, 4, 4), items, num_content_levels=2)
    np.testing.assert_array_equal(found, initial_embeddings(ids[known], (4, 4, 4), items[known], num_content_levels=2))
    nothing = initial_embeddings(ids, (4, 4, 4), np.full_like(items, np.nan), vocabulary_embeddings=items[known])
    assert np.isfinite(found).all() and np.isfinite(nothing).all() and len(np.unique(nothing, axis=0)) == 12


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="with 3 items and 2 levels"):
        initial_embeddings(np.zeros((4, 2), int), (2, 2), np.zeros((3, 5)))


def test_similar_codewords_have_similar_embeddings_with_the_spread_of_the_old_ones():
    random = np.random.default_rng(0)
    codewords, old = random.normal(size=(40, 100)).astype(np.float32), random.normal(3, 2, size=(500, 2000))
    codewords[20:] *= 0.1
    codewords[1] = codewords[0] + 0.01 * codewords[2]
    found = embeddings_of_codewords(codewords, (20, 20, 5), old, seed=1)
    assert found.shape == (45, 2000) and found.dtype == np.float32
    spread = np.sqrt(np.square(old - old.mean(axis=0)).sum(axis=1).mean())
    for level in (slice(0, 20), slice(20, 40), slice(40, 45)):
        away = found[level] - old.mean(axis=0)
        assert np.sqrt(np.square(away).sum(axis=1).mean()) == pytest.approx(spread, rel=1e-4)
    # The ratio of the distances of embeddings and codewords is the same for all pairs of a level.
    for level in (slice(0, 20), slice(20, 40)):
        pairs = np.triu_indices(20, 1)
        distances = [
            np.linalg.norm(each[level][pairs[0]] - each[level][pairs[1]], axis=1) for each in (found, codewords)
        ]
        ratios = distances[0] / distances[1]
        assert ratios.std() < 0.05 * ratios.mean()
    np.testing.assert_array_equal(found, embeddings_of_codewords(codewords, (20, 20, 5), old, seed=1))
    assert not np.allclose(found, embeddings_of_codewords(codewords, (20, 20, 5), old, seed=2))
    with pytest.raises(ValueError, match="40 codewords"):
        embeddings_of_codewords(codewords, (20, 10), old)
