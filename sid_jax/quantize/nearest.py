"""Assigns codes by float32 inner products at the highest precision; ties go to the lowest index."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.quantize.memory_order import transposed, written_once

# L codebooks, `[K, Z]` each, as a sequence or as one array `[L, K, Z]`.
Codebooks = Sequence[jax.Array] | jax.Array


def code_scores(residuals: jax.Array, codebook: jax.Array) -> jax.Array:
    """Returns the score of each code for each residual, `[..., K]` float32. The nearest code has the highest score.

    The score of codeword c for residual r is `2 r.c - |c|^2`. The squared distance is `|r|^2` minus the score. `|r|^2`
    is omitted, since it is the same for every code and cannot change the order of the codes. Adding it would only cause
    rounding errors.

    Args:
      residuals: `[..., Z]`.
      codebook: `[K, Z]`.
    """
    residuals = residuals.astype(jnp.float32)
    codebook = codebook.astype(jnp.float32)
    inner = _inner_products(residuals, codebook)
    norms = jnp.sum(codebook * codebook, axis=-1)
    # The broadcast is explicit, since a caller may have set `jax_numpy_rank_promotion` to "raise".
    return 2.0 * inner - jnp.broadcast_to(norms, inner.shape)


@jax.custom_vjp
def _inner_products(residuals: jax.Array, codebook: jax.Array) -> jax.Array:
    """Returns the inner products `[..., K]` of residuals `[..., Z]` and codewords `[K, Z]`."""
    return jnp.matmul(residuals, codebook.T, precision=jax.lax.Precision.HIGHEST)


def _inner_products_backward(kept: tuple[jax.Array, jax.Array], grads: jax.Array) -> tuple[jax.Array, jax.Array]:
    residuals, codebook = kept
    rows = residuals.reshape(-1, residuals.shape[-1])
    grads = written_once(grads)
    # `rows` is transposed, and not `grads`, since `grads` is usually larger. On CPUs, the product of `grads.T` and
    # `rows` would take twice as long.
    by_features = written_once(
        jnp.matmul(transposed(rows), grads.reshape(-1, len(codebook)), precision=jax.lax.Precision.HIGHEST)
    )
    return codewords_by_one_hot(grads, codebook), by_features.T


_inner_products.defvjp(
    lambda residuals, codebook: (_inner_products(residuals, codebook), (residuals, codebook)), _inner_products_backward
)


def squared_distances(residuals: jax.Array, codebook: jax.Array) -> jax.Array:
    """Returns `|r - c|^2` for residuals `[..., Z]` and a codebook `[K, Z]`: `[..., K]` float32, 0 or more."""
    norms = jnp.sum(jnp.square(residuals.astype(jnp.float32)), axis=-1, keepdims=True)
    return jnp.maximum(norms - code_scores(residuals, codebook), 0.0)


def codebook_spacing(codebook: jax.Array) -> jax.Array:
    """Returns the mean squared distance of codewords `[K, Z]` to their nearest neighbors, without a gradient.

    Soft assignments measure distances in this unit. A temperature therefore has the same effect at every level, on
    every data set and at every stage of training, although latent vectors grow and residuals shrink. The spacing is 1
    for a single codeword, or if all codewords are equal.
    """
    size = codebook.shape[0]
    codebook = jax.lax.stop_gradient(codebook)
    others = jnp.where(jnp.eye(size, dtype=bool), jnp.inf, squared_distances(codebook, codebook))
    spacing = jnp.mean(jnp.min(others, axis=-1))
    return jnp.where((spacing > 0) & jnp.isfinite(spacing), spacing, 1.0)


def index_of_largest(scores: jax.Array) -> jax.Array:
    """Returns the argmax of scores `[..., K]`: `[...]` int32; the lowest index if scores are equal.

    On CPUs, XLA does not vectorize `argmax`, but it does vectorize the two max reductions used here.
    """
    size = scores.shape[-1]
    # Small integers are exact in float32, which has a faster max reduction than int32.
    from_the_end = jnp.arange(size, 0, -1, dtype=jnp.float32)
    is_largest = scores == jnp.max(scores, axis=-1, keepdims=True)
    last = jnp.max(jnp.where(is_largest, jnp.broadcast_to(from_the_end, scores.shape), 0.0), axis=-1)
    # With a NaN among the scores, no score equals the maximum, but the index must still be in range.
    return jnp.minimum(size - last, size - 1).astype(jnp.int32)


def largest_few(scores: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Returns the `count` largest scores of `[..., K]` and their indices, `[..., count]` each, like `jax.lax.top_k`."""
    places = jnp.arange(scores.shape[-1])
    values, indices = [], []
    for _ in range(count):
        # Without the barrier, XLA would recompute the remaining scores in each iteration.
        scores = jax.lax.optimization_barrier(scores)
        values.append(jnp.max(scores, axis=-1))
        indices.append(index_of_largest(scores))
        taken = jnp.broadcast_to(places, scores.shape) == indices[-1][..., None]
        scores = jnp.where(taken, -jnp.inf, scores)
    return jnp.stack(values, axis=-1), jnp.stack(indices, axis=-1)


def nearest_codes(residuals: jax.Array, codebook: jax.Array) -> jax.Array:
    """Returns the index of the codeword nearest to each residual `[..., Z]`: `[...]` int32; the lowest one in ties."""
    return index_of_largest(code_scores(residuals, codebook))


def assign_codes(latents: jax.Array, codebooks: Codebooks) -> jax.Array:
    """Returns the codes of latent vectors `[..., Z]`, assigned greedily level by level: `[..., L]` int32.

    Each level selects the codeword nearest to its residual (Zeghidour et al., 2107.03312, algorithm 1). Evaluation,
    export and recommenders assign codes with this function. Training (`residual.residual_quantize`) without noise
    selects codes by the same scores.
    """
    residuals = latents.astype(jnp.float32)
    codes = []
    for codebook in codebooks:
        codes.append(nearest_codes(residuals, codebook))
        residuals = residuals - codebook[codes[-1]].astype(jnp.float32)
    return jnp.stack(codes, axis=-1)


def code_margins(latents: jax.Array, codebooks: Codebooks) -> jax.Array:
    """Returns the margin of each code that `assign_codes` gives latents `[..., Z]`: `[..., L]` float32, 0 or more.

    The margin is the squared distance to the second nearest codeword minus the squared distance to the nearest, divided
    by the residual's squared norm. If it is close to the rounding error of float32, 1e-7, another machine or framework
    may choose the second nearest codeword. At a level with a single code, the margin is infinite.
    """
    residuals = latents.astype(jnp.float32)
    margins = []
    for codebook in codebooks:
        scores = code_scores(residuals, codebook)
        if codebook.shape[0] == 1:
            scores = jnp.concatenate([scores, jnp.full_like(scores, -jnp.inf)], axis=-1)
        best, second = jnp.moveaxis(jax.lax.top_k(scores, 2)[0], -1, 0)
        margins.append((best - second) / jnp.maximum(jnp.sum(jnp.square(residuals), axis=-1), 1e-30))
        residuals = residuals - codebook[nearest_codes(residuals, codebook)].astype(jnp.float32)
    return jnp.stack(margins, axis=-1)


def sum_codewords(codes: jax.Array, codebooks: Codebooks) -> jax.Array:
    """Returns the quantized latent vectors `[..., Z]` of codes `[..., L]`: the sums of their codewords."""
    return sum(
        (codebook[codes[..., level]] for level, codebook in enumerate(codebooks)),
        start=jnp.zeros((), codebooks[0].dtype),
    )


def codewords_by_one_hot(one_hot: jax.Array, codebook: jax.Array) -> jax.Array:
    """Returns the codewords `[..., Z]` of assignments `[..., K]`, one-hot or soft; exact for one-hot assignments.

    This is a matrix product instead of a look-up. Its gradient is then also a matrix product, with the same result, bit
    for bit, in every run. The gradient of a look-up is a scatter, whose order of additions is not deterministic on
    accelerators.
    """
    return jnp.matmul(one_hot, codebook, precision=jax.lax.Precision.HIGHEST)


@jax.custom_vjp
def codewords_of(codes: jax.Array, codebook: jax.Array) -> jax.Array:
    """Returns the codewords `[..., Z]` of codes `[...]`, with a gradient to the codebook `[K, Z]`.

    On CPUs, the gradient is a scatter, which adds in the order of the codes and is much faster than a matrix product.
    On other devices, it is the gradient of `codewords_by_one_hot`.
    """
    return codebook[codes]


def _codewords_forward(codes: jax.Array, codebook: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return codebook[codes], (codes, codebook)


def _codewords_backward(kept: tuple[jax.Array, jax.Array], grads: jax.Array) -> tuple[np.ndarray, jax.Array]:
    codes, codebook = kept
    if jax.default_backend() == "cpu":
        of_codebook = jnp.zeros_like(codebook).at[codes].add(grads)
    else:
        one_hot = jax.nn.one_hot(codes, len(codebook), dtype=codebook.dtype)
        of_codebook = jax.vjp(lambda codebook: codewords_by_one_hot(one_hot, codebook), codebook)[1](grads)[0]
    return np.zeros(codes.shape, jax.dtypes.float0), of_codebook


codewords_of.defvjp(_codewords_forward, _codewords_backward)
