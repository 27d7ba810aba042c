"""Gradient estimators for the discrete choice of codes: straight-through, rotation, DiVeQ and Gumbel-softmax."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.quantize.nearest import index_of_largest


def straight_through(latents: jax.Array, quantized: jax.Array) -> jax.Array:
    """Returns `quantized`, bit for bit, with the gradient of the identity on `latents` (Bengio et al., 1308.3432).

    `latents` `[..., Z]` are the vectors before quantization, and `quantized` `[..., Z]` are the quantized vectors.
    Apply the estimator once, to the sum of all levels' codewords, so that the encoder's gradient is correct for any L.
    """
    return jax.lax.stop_gradient(quantized) + (latents - jax.lax.stop_gradient(latents))


def gumbel_softmax(
    scores: jax.Array,
    key: jax.Array | None = None,
    *,
    columns: tuple[int, int] | None = None,
    temperature: jax.Array | float,
    noise_scale: jax.Array | float = 1.0,
    hard: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Samples a code for each row of scores by the Gumbel-max trick, with a differentiable relaxation.

    This is eq. 2 of Jang et al., 1611.01144, with a scale on the noise. At scale 0, the sample is the code with the
    highest score. The temperature changes only the soft weights, not the sample.

    Args:
      scores: `[..., K]`, unnormalized log-probabilities.
      key: PRNG key of the noise; None adds no noise.
      columns: a pair (first, total). The noise then consists of the K columns, from column `first` on, of an array of
        noise `[..., total]`. Levels that share a key get independent noise from different columns. None: the array of
        noise has the shape of the scores.
      temperature: above 0; may be traced.
      noise_scale: 0 or more; may be traced.
      hard: True returns one-hot weights with the gradient of the soft weights; False returns the soft weights.

    Returns:
      Weights `[..., K]` that sum to 1, and the sampled codes `[...]` int32.
    """
    if key is not None:
        scores = _with_noise(scores, key, noise_scale, columns or (0, scores.shape[-1]))
    codes = index_of_largest(scores)
    soft = jax.nn.softmax(scores / temperature, axis=-1)
    if not hard:
        return soft, codes
    one_hot = jax.nn.one_hot(codes, scores.shape[-1], dtype=scores.dtype)
    return one_hot + (soft - jax.lax.stop_gradient(soft)), codes


def _with_noise(
    scores: jax.Array, key: jax.Array, noise_scale: jax.Array | float, columns: tuple[int, int]
) -> jax.Array:
    first, total = columns

    def added(scores: jax.Array) -> jax.Array:
        # XLA computes the noise and the sum in one loop, so the noise is never written to memory.
        noise = standard_gumbel(key, (*scores.shape[:-1], total), (first, first + scores.shape[-1]))
        return scores + noise_scale * noise

    # If the scale is 0, as at the end of a run, no noise is drawn.
    return jax.lax.cond(jnp.asarray(noise_scale) > 0, added, lambda scores: scores, scores)


def standard_gumbel(key: jax.Array, shape: tuple[int, ...], columns: tuple[int, int] | None = None) -> jax.Array:
    """Returns standard Gumbel noise of a shape, float32, from 16 random bits per number.

    The values are between -2.5 and 11.8: the tails of probability 2^-17 at both ends are cut off. A training step draws
    one number per score, so 32 bits per number would slow training down noticeably.

    Args:
      key: PRNG key.
      shape: `(..., K)`, the shape of the noise.
      columns: a pair (first, end). Only the columns of the last axis from `first` to `end` - 1 are returned. None: all.
    """
    first, end = columns or (0, shape[-1])
    # The two halves of a random word are the noise of two columns.
    num_words = -(-shape[-1] // 2)
    some = (*shape[:-1], end - first)
    row = jax.lax.iota(jnp.uint32, math.prod(shape[:-1])).reshape(*shape[:-1], 1)
    column = first + jax.lax.broadcasted_iota(jnp.uint32, some, len(some) - 1)
    in_low_half = column < num_words
    positions = jnp.broadcast_to(row * num_words, some) + jnp.where(in_low_half, column, column - num_words)
    words = _hashed_words(key, positions)
    halves = jnp.where(in_low_half, words & 0xFFFF, words >> 16)
    if jax.default_backend() == "cpu":
        # Computing the two logarithms of each number takes twice as long as a table look-up.
        return jnp.asarray(_gumbel_quantiles())[halves]
    uniform = (halves.astype(jnp.float32) + 0.5) * 2.0**-16
    return -jnp.log(-jnp.log(uniform))


@functools.cache
def _gumbel_quantiles() -> np.ndarray:
    """Returns quantiles of the standard Gumbel distribution at the middles of 65,536 equal probability intervals."""
    return (-np.log(-np.log((np.arange(2**16) + 0.5) * 2.0**-16))).astype(np.float32)


def _hashed_words(key: jax.Array, positions: jax.Array) -> jax.Array:
    """Returns a random word for each position, uint32: a hash of the position and of two words drawn from the key.

    On CPUs, this takes a tenth of the time of `jax.random.bits`. The noise need not be cryptographically secure.
    """
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    return _mixed(_mixed(positions + first) ^ second)


def _mixed(words: jax.Array) -> jax.Array:
    """Returns a hash of uint32 words, a bijection: the finalizer lowbias32 of Wellons, Hash Prospector, 2018."""
    words = (words ^ (words >> 16)) * jnp.uint32(0x7FEB352D)
    words = (words ^ (words >> 15)) * jnp.uint32(0x846CA68B)
    return words ^ (words >> 16)


def rotate_to(latents: jax.Array, quantized: jax.Array) -> jax.Array:
    """Returns `quantized` with the gradient of a rotation and a scaling on `latents` (Fifty et al., 2410.06424).

    The arguments `[..., Z]` are as in `straight_through`. Let e be one of the `latents`, and q its quantized vector.
    The map `(|q| / |e|) R` takes e to q. R is the rotation in the plane of e and q that turns e toward q. The backward
    pass treats the map as a constant, so the gradient with respect to e is a rotated and scaled copy of the gradient
    with respect to q. With `straight_through`, the two gradients are equal. Without the scaling, the result would have
    the length of e, and would not be the sum of the codewords.
    """
    fixed, target = jax.lax.stop_gradient((latents, quantized))
    latent_norm, target_norm = (_norm(each) for each in (fixed, target))
    from_, to = fixed / latent_norm, target / target_norm
    between = from_ + to
    # If e and q have opposite directions, their plane is undefined. The gradient is then that of the reflection in the
    # hyperplane perpendicular to q.
    between = between / _norm(between)

    def turned(vectors: jax.Array) -> jax.Array:
        reflected = vectors - 2 * between * jnp.sum(between * vectors, axis=-1, keepdims=True)
        return (target_norm / latent_norm) * (reflected + 2 * to * jnp.sum(from_ * vectors, axis=-1, keepdims=True))

    # The second term has the value 0 and the gradient of the map. The result is therefore `quantized` bit for bit.
    return target + turned(latents - fixed)


def add_error(
    latents: jax.Array, quantized: jax.Array, key: jax.Array | None = None, noise_scale: jax.Array | float = 0.0
) -> jax.Array:
    """Adds to the latents a vector whose length is the quantization error; latents and codewords get gradients.

    The result is `e + |q - e| sg(v / |v|)`, where v is the error `q - e` plus noise (Vali et al., DiVeQ, 2509.26469).
    The direction is treated as a constant in the backward pass. The gradient of the length pulls latents and codewords
    toward each other. Without noise, the value is `quantized` up to rounding.

    Args:
      latents: `[..., Z]`, the vectors before quantization.
      quantized: `[..., Z]`, the vectors after quantization, with the gradient to the codebooks.
      key: PRNG key of the noise; None adds no noise.
      noise_scale: expected length of the noise relative to the length of the error; may be traced.
    """
    error = quantized - latents
    length = _norm(error)
    towards = error
    if key is not None:
        noise = jax.random.normal(key, error.shape, error.dtype) * error.shape[-1] ** -0.5
        towards = error + noise_scale * length * noise
    return latents + length * jax.lax.stop_gradient(towards / _norm(towards))


def _norm(vectors: jax.Array) -> jax.Array:
    """Returns lengths `[..., 1]`, never 0, with a gradient of 0 where a vector is 0."""
    squares = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    return jnp.sqrt(jnp.maximum(squares, 1e-24))


def code_embeddings(weights: Sequence[jax.Array], tables: Sequence[jax.Array]) -> jax.Array:
    """Returns the embedding of an item's code at each level: `[..., L, F]`, in the dtype of the tables.

    The result is the product of an assignment and a table. For a one-hot assignment, it equals a look-up bit for bit;
    for a soft assignment, it is a mixture of embeddings. Unlike a look-up, it has gradients to both factors: the table
    learns the embedding of a code, and the quantizer learns which code would have given the model a lower loss. A model
    can therefore train the quantizer end to end. The weights determine the method of this training: the
    straight-through estimator; noise on the choice of codes, which keeps codes in use early in training and falls to 0
    (Fu et al., DIGER, 2601.19711); or mixtures with a falling temperature (Li et al., UniGRec, 2601.17438).

    Args:
      weights: L arrays `[..., K]`, one per level, from `QuantizerOutput.weights`. They are one-hot or soft, depending
        on the quantizer's method, `hard` and noise.
      tables: L arrays `[K, F]`, one per level, which are parameters of the model.

    Raises:
      ValueError: if a table's row count differs from its level's number of codes, or there are not L tables.
    """
    if [len(table) for table in tables] != [level.shape[-1] for level in weights]:
        raise ValueError(
            f"the tables have {[len(table) for table in tables]} rows, but the levels have "
            f"{[level.shape[-1] for level in weights]} codes; give one table per level, with one row per code"
        )
    pairs = zip(weights, tables, strict=True)
    # At the highest precision, the product with a one-hot row is exactly the table's row, on every device.
    products = [
        jnp.matmul(level.astype(table.dtype), table, precision=jax.lax.Precision.HIGHEST) for level, table in pairs
    ]
    return jnp.stack(products, axis=-2)
