import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.quantize.losses import (
    codebook_loss,
    commitment_loss,
    contrastive_loss,
    reconstruction_loss,
)

R, E = jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [3.0, 4.0]])


def test_each_term_sums_over_features_and_keeps_items():
    for loss in (reconstruction_loss, codebook_loss, commitment_loss):
        np.testing.assert_array_equal(loss(R, E), [5.0, 25.0])


def test_each_term_moves_one_side_alone():
    def gradients(loss):
        return jax.grad(lambda r, e: loss(r, e).sum(), argnums=(0, 1))(R, E)

    to_codebook = gradients(codebook_loss)
    np.testing.assert_array_equal(to_codebook[0], np.zeros((2, 2)))
    np.testing.assert_array_equal(to_codebook[1], 2 * (E - R))
    to_encoder = gradients(commitment_loss)
    np.testing.assert_array_equal(to_encoder[0], 2 * (R - E))
    np.testing.assert_array_equal(to_encoder[1], np.zeros((2, 2)))
    np.testing.assert_array_equal(gradients(reconstruction_loss)[0], np.zeros((2, 2)))


def test_the_contrastive_loss_by_hand():
    """The negatives of each vector are the partners of the two other vectors. The lengths of vectors do not matter."""
    vectors = jnp.array([[2.0, 0.0], [0.0, 3.0], [0.0, -1.0]])
    partners = jnp.array([[5.0, 0.0], [0.0, 0.5], [-1.0, 0.0]])
    losses = contrastive_loss(vectors, partners, jnp.array([0, 1, 2]), jnp.array([3, 4, 5]), 0.5)
    two = np.exp(2)
    first = -np.log(two / (two + 1 + 1 / two))
    np.testing.assert_allclose(losses, [first, -np.log(two / (two + 2)), -np.log(1 / (2 + 1 / two))], rtol=1e-5)


def test_what_is_the_partner_or_the_item_itself_is_no_negative():
    vectors = jnp.eye(3)
    partners = jnp.ones((3, 3))
    # The third item has no negatives: the first item has the same partner, and the second item's partner is the third
    # item.
    losses = contrastive_loss(vectors, partners, jnp.array([0, 1, 2]), jnp.array([7, 2, 7]), 1.0)
    np.testing.assert_allclose(losses, [np.log(2), np.log(3), 0.0], atol=1e-6)


def test_the_contrastive_loss_has_a_gradient_where_a_vector_is_0():
    gradient = jax.grad(lambda z: contrastive_loss(z, jnp.eye(2), jnp.arange(2), jnp.arange(2, 4), 0.1).sum())
    np.testing.assert_array_equal(gradient(jnp.zeros((2, 2))), np.zeros((2, 2)))


def test_other_partners_of_the_same_item_are_no_negatives():
    losses = contrastive_loss(jnp.eye(2), jnp.eye(2)[::-1], jnp.array([4, 4]), jnp.array([1, 2]), 0.1)
    np.testing.assert_allclose(losses, [0.0, 0.0], atol=1e-6)


def test_only_what_counts_is_told_from():
    counted = jnp.array([True, False, True])
    items = jnp.arange(3)
    losses = contrastive_loss(jnp.eye(3), jnp.ones((3, 3)), items, items, 1.0, counted=counted)
    np.testing.assert_allclose(losses, [np.log(2), np.log(3), np.log(2)], atol=1e-6)
