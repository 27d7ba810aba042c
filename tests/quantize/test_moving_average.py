import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.quantize.codebooks import move_codewords
from sid_jax.quantize.nearest import nearest_codes
from sid_jax.quantize.residual import residual_quantize


def test_by_hand():
    codebook, counts = jnp.array([[0.0], [5.0]]), jnp.array([2.0, 1.0])
    moved, new_counts = move_codewords(codebook, counts, jnp.array([[1.0], [3.0]]), jnp.array([0, 0]), 0.5)
    # Code 0 gets the count .5 * 2 + .5 * 2 = 2 and the sum of points .5 * 2 * 0 + .5 * (1 + 3) = 2. Code 1 has no
    # points, so its count is halved.
    np.testing.assert_allclose(new_counts, [2.0, 0.5])
    np.testing.assert_allclose(moved, [[1.0], [5.0]])


def test_it_is_the_quotient_of_two_moving_averages(key):
    """The moving averages of the sums and counts of a code's points are those of van den Oord et al., 2017."""
    points = jax.random.normal(key, (20, 64, 3))
    codebook = points[0, :8]
    counts, sums = jnp.ones(8), codebook
    quotient, average, average_counts = codebook, codebook, jnp.ones(8)
    for batch in points:
        codes = nearest_codes(batch, average)
        one_hot = jax.nn.one_hot(codes, 8)
        counts = 0.9 * counts + 0.1 * one_hot.sum(0)
        sums = 0.9 * sums + 0.1 * one_hot.T @ batch
        quotient = sums / counts[:, None]
        average, average_counts = move_codewords(average, average_counts, batch, codes, 0.9)
    np.testing.assert_allclose(average, quotient, atol=1e-5)
    np.testing.assert_allclose(average_counts, counts, rtol=1e-5)


def test_a_code_that_nobody_ever_takes_stays_where_it_is_and_finite():
    codebook, counts = jnp.array([[0.0], [9.0]]), jnp.ones(2)
    step = jax.jit(move_codewords)
    for _ in range(2000):
        codebook, counts = step(codebook, counts, jnp.zeros((4, 1)), jnp.zeros(4, jnp.int32), 0.9)
    np.testing.assert_array_equal(codebook, [[0.0], [9.0]])


def test_no_gradient_reaches_the_codebooks(key):
    latents, codebooks = jax.random.normal(key, (16, 4)), jax.random.normal(key, (2, 8, 4))

    def loss(codebooks):
        output = residual_quantize(latents, codebooks, method="ema")
        return output.codebook_loss.sum() + jnp.square(output.quantized).sum()

    np.testing.assert_array_equal(jax.grad(loss)(codebooks), np.zeros_like(codebooks))
