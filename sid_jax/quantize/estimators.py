"""How gradients pass a choice that has none: straight-through and Gumbel-softmax."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def straight_through(latents: jax.Array, quantized: jax.Array) -> jax.Array:
    """Returns `quantized`, bit for bit, with the gradient of the identity on `latents` (Bengio et al., 1308.3432).

    Applied once, to the sum of all levels' codewords: then the encoder's gradient is right for any number of levels.

    Args:
      latents: `[..., Z]`, the vectors before quantization.
      quantized: `[..., Z]`, the vectors after it.
    """
    return jax.lax.stop_gradient(quantized) + (latents - jax.lax.stop_gradient(latents))


def gumbel_softmax(
    scores: jax.Array,
    key: jax.Array | None,
    *,
    temperature: jax.Array | float,
    noise_scale: jax.Array | float = 1.0,
    hard: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Samples a code for each row of scores by the Gumbel-max trick, with a differentiable relaxation.

    Jang et al., 1611.01144, eq. 2, with a scale on the noise: at 0 the sample is the code of the highest score. The
    temperature divides once, inside the softmax, and never moves the sample.

    Args:
      scores: `[..., K]`, unnormalised log-probabilities.
      key: PRNG key of the noise; None draws none.
      temperature: above 0; may be traced.
      noise_scale: 0 or more; may be traced.
      hard: True gives one-hot weights whose gradient is that of the soft ones; False gives the soft ones.

    Returns:
      weights `[..., K]` that sum to 1, and codes `[...]` int32, the index of the sample.
    """
    if key is not None:
        scores = scores + noise_scale * jax.random.gumbel(key, scores.shape, scores.dtype)
    codes = jnp.argmax(scores, axis=-1).astype(jnp.int32)
    soft = jax.nn.softmax(scores / temperature, axis=-1)
    if not hard:
        return soft, codes
    one_hot = jax.nn.one_hot(codes, scores.shape[-1], dtype=scores.dtype)
    return one_hot + (soft - jax.lax.stop_gradient(soft)), codes
