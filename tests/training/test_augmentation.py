import jax.numpy as jnp
import numpy as np
import pytest

from sid_jax.config import check_config, default_config
from sid_jax.errors import UserError
from sid_jax.presets import preset
from sid_jax.training.augmentation import displaced, with_augmentation
from sid_jax.training.recipe import Recipe
from sid_jax.training.schedules import Durations
from sid_jax.training.state import abstract_model


def recipe_of(config, corpus, **train):
    config.train.update(train)
    return Recipe.of(config, Durations.of(config.train, len(corpus)), abstract_model(config, corpus.shape[1]))


def test_each_vector_moves_along_the_difference_of_the_two_before_it():
    vectors = jnp.array([[1.0, 0.0], [0.0, 2.0], [4.0, 0.0], [0.0, 8.0]])
    # The first expected vector is (1, 0) + .5 ((0, 8) - (4, 0)).
    expected = [[-1.0, 4.0], [0.5, -2.0], [3.5, 1.0], [2.0, 7.0]]
    np.testing.assert_allclose(displaced(vectors, 0.5), expected)
    np.testing.assert_array_equal(displaced(vectors, 0.0), vectors)


def test_what_is_added_varies_as_the_items_do(corpus):
    added = np.asarray(displaced(jnp.asarray(corpus), 0.5)) - corpus
    np.testing.assert_allclose(added.mean(axis=0), 0, atol=1e-5)
    ratio = added.var(axis=0).sum() / corpus.var(axis=0).sum()
    assert ratio == pytest.approx(2 * 0.5**2, rel=0.1)


def test_items_are_as_they_are_once_codes_settle_and_at_length_1_before(config, corpus):
    recipe = recipe_of(config, corpus, augmentation=0.5)
    batch = jnp.asarray(corpus[:8])
    unit = batch / jnp.linalg.norm(batch, axis=1, keepdims=True)
    last = jnp.int32(recipe.lengths.settle_from_step)
    np.testing.assert_allclose(recipe.augment(batch, last), unit, atol=1e-6)
    np.testing.assert_allclose(recipe.augment(batch, last - 1), displaced(unit, 0.5), atol=1e-6)
    assert recipe_of(config, corpus, augmentation=0.0).augment(batch, last - 1) is batch


@pytest.mark.parametrize(
    ("name", "num_items", "share"),
    [
        ("embeddings", 100, 0.25),
        ("embeddings", 50_000, 0.25),
        ("embeddings", 200_000, 0.125),
        ("embeddings:gumbel", 100, 0.15),
        ("embeddings:gumbel", 200_000, 0.075),
        ("ml100k", 1682, 0.0),
        ("ml100k:gumbel", 1682, 0.0),
        ("embeddings:rkmeans", 100, 0.0),
    ],
)
def test_the_strength_falls_with_the_number_of_items(name, num_items, share):
    assert with_augmentation(preset(name), num_items).train.augmentation == share


def test_the_strength_is_a_number_that_is_kept_or_auto_which_is_0_without_a_network():
    config = default_config()
    config.model.encoder = "identity"
    assert with_augmentation(config, 100).train.augmentation == 0.0
    config.train.augmentation = 0.5
    assert with_augmentation(config, 10**6).train.augmentation == 0.5
    config.train.augmentation = "some"
    with pytest.raises(UserError, match="'auto'"):
        check_config(config)
