import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.quantize.codebooks import count_codes, revive_codewords


def test_counts_by_hand_with_levels_of_different_sizes():
    counts = count_codes(jnp.array([[0, 1], [0, 2], [1, 1]]), (2, 4))
    np.testing.assert_array_equal(counts[0], [2, 1])
    np.testing.assert_array_equal(counts[1], [0, 2, 1, 0])


def test_only_the_dead_move_and_each_to_its_own_residual(key):
    codebook = jnp.zeros((5, 2))
    residuals = jax.random.normal(key, (20, 2))
    dead = jnp.array([False, True, True, False, True])
    revived = np.asarray(revive_codewords(key, codebook, dead, residuals, jnp.ones(20)))
    np.testing.assert_array_equal(revived[~np.asarray(dead)], 0)
    rows = {tuple(row) for row in np.asarray(residuals)}
    new = [tuple(row) for row in revived[np.asarray(dead)]]
    assert set(new) <= rows and len(set(new)) == 3


def test_residuals_that_are_served_well_are_not_chosen(key):
    residuals = jnp.arange(10.0)[:, None]
    errors = jnp.where(jnp.arange(10) < 7, 0.0, 1.0)
    revived = revive_codewords(key, jnp.full((3, 1), -1.0), jnp.ones(3, bool), residuals, errors)
    assert sorted(np.asarray(revived)[:, 0].tolist()) == [7, 8, 9]
