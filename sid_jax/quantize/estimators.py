"""How gradients pass a choice that has none: straight-through, rotation, an added error, and Gumbel-softmax."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from sid_jax.quantize.nearest import index_of_largest


def straight_through(latents: jax.Array, quantized: jax.Array) -> jax.Array:
    """Returns `quantized`, bit for bit, with the gradient of the identity on `latents` (Bengio et al., 1308.3432).

    Latents `[..., Z]` are the vectors before quantization, quantized `[..., Z]` those after it. Applied once, to the
    sum of all levels' codewords: then the encoder's gradient is right for any number of levels.
    """
    return jax.lax.stop_gradient(quantized) + (latents - jax.lax.stop_gradient(latents))


def gumbel_softmax(
    scores: jax.Array,
    key: jax.Array | None = None,
    *,
    noise: jax.Array | None = None,
    temperature: jax.Array | float,
    noise_scale: jax.Array | float = 1.0,
    hard: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Samples a code for each row of scores by the Gumbel-max trick, with a differentiable relaxation.

    Jang et al., 1611.01144, eq. 2, with a scale on the noise: at 0 the sample is the code of the highest score. The
    temperature divides once, inside the softmax, and never moves the sample.

    Args:
      scores: `[..., K]`, unnormalized log-probabilities.
      key: PRNG key of the noise; None draws none.
      noise: `[..., K]`, standard Gumbel noise that was drawn before, instead of a key.
      temperature: above 0; may be traced.
      noise_scale: 0 or more; may be traced.
      hard: True gives one-hot weights whose gradient is that of the soft ones; False gives the soft ones.

    Returns:
      weights `[..., K]` that sum to 1, and codes `[...]` int32, the index of the sample.
    """
    if key is not None:
        noise = standard_gumbel(key, scores.shape)
    if noise is not None:
        scores = scores + noise_scale * noise
    codes = index_of_largest(scores)
    soft = jax.nn.softmax(scores / temperature, axis=-1)
    if not hard:
        return soft, codes
    one_hot = jax.nn.one_hot(codes, scores.shape[-1], dtype=scores.dtype)
    return one_hot + (soft - jax.lax.stop_gradient(soft)), codes


def standard_gumbel(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns standard Gumbel noise of a shape, float32, from 16 random bits a number.

    It lies between -2.5 and 11.8, where one of 65,536 numbers is cut off at either end. A step draws as much of it as
    it has scores, so that the draw of the other 16 bits would be felt.
    """
    bits = jax.random.bits(key, (*shape[:-1], -(-shape[-1] // 2)), jnp.uint32)
    halves = jnp.concatenate([bits & 0xFFFF, bits >> 16], axis=-1)[..., : shape[-1]]
    uniform = (halves.astype(jnp.float32) + 0.5) * 2.0**-16
    return -jnp.log(-jnp.log(uniform))


def rotate_to(latents: jax.Array, quantized: jax.Array) -> jax.Array:
    """Returns `quantized` with the gradient of a rotation and a scaling on `latents` (Fifty et al., 2410.06424).

    The map `(|q| / |e|) R`, where R is the rotation in the plane of e and q that turns e towards q, takes e to q; it is
    a constant to gradients. So what pulls at q reaches e turned and scaled as q is, and not as if the two were in one
    place. Without the rescaling the result would have the length of e, and be no sum of codewords. Latents e and
    quantized q `[..., Z]` are as of `straight_through`.
    """
    fixed, target = jax.lax.stop_gradient((latents, quantized))
    latent_norm, target_norm = (_norm(each) for each in (fixed, target))
    from_, to = fixed / latent_norm, target / target_norm
    between = from_ + to
    # Opposite directions leave the plane open: the gradient is then that of a reflection at the origin.
    between = between / _norm(between)

    def turned(vectors: jax.Array) -> jax.Array:
        reflected = vectors - 2 * between * jnp.sum(between * vectors, axis=-1, keepdims=True)
        return (target_norm / latent_norm) * (reflected + 2 * to * jnp.sum(from_ * vectors, axis=-1, keepdims=True))

    # The value bit for bit, the gradient of the map.
    return target + turned(latents - fixed)


def add_error(
    latents: jax.Array, quantized: jax.Array, key: jax.Array | None = None, noise_scale: jax.Array | float = 0.0
) -> jax.Array:
    """Returns the latents plus an error vector as long as the quantization's, with gradients to latents and codewords.

    `e + |q - e| sg(v / |v|)` with v the error `q - e` and some noise on it (Vali et al., DiVeQ, 2509.26469). The
    direction is a constant, the length is not: it draws latents and codewords towards each other. Without noise the
    value is `quantized`, but for rounding.

    Args:
      latents: `[..., Z]`, the vectors before quantization.
      quantized: `[..., Z]`, the vectors after it, with the codebooks' gradient.
      key: PRNG key of the noise; None draws none.
      noise_scale: the noise's expected length as a share of the error's; may be traced.
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
    """Returns the embedding of an item's code at each level: `[..., L, F]`, in the type of the tables.

    It is the product of an assignment with a table: a look-up, bit for bit, where the assignment is one-hot, and a
    mixture of embeddings where it is soft. Unlike a look-up it has gradients to both: the table learns what a code
    means to the model, and the quantizer which code would have served the model better. So the quantizer is trained
    inside the model: by the straight-through estimator; with noise on the choice that falls to 0, which keeps codes in
    use until they have found their place (Fu et al., DIGER, 2601.19711); or by mixtures whose temperature falls (Li et
    al., UniGRec, 2601.17438).

    Args:
      weights: for each of the L levels `[..., K]`, `QuantizerOutput.weights`; of which kind they are, the quantizer's
        method, `hard` and noise say.
      tables: for each level `[K, F]`, parameters of the model.

    Raises:
      ValueError: if a table has not as many rows as its level has codes, or there are not L tables.
    """
    if [len(table) for table in tables] != [level.shape[-1] for level in weights]:
        raise ValueError(
            f"the tables have {[len(table) for table in tables]} rows, the levels "
            f"{[level.shape[-1] for level in weights]} codes"
        )
    pairs = zip(weights, tables, strict=True)
    # At the highest precision a one-hot row's product is the table's row itself, on every device.
    products = [
        jnp.matmul(level.astype(table.dtype), table, precision=jax.lax.Precision.HIGHEST) for level, table in pairs
    ]
    return jnp.stack(products, axis=-2)
