"""The one way in which a code is chosen: float32 inner products at the highest precision, ties to the lowest index."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

# L codebooks, `[K, Z]` each: a sequence, or one array `[L, K, Z]`.
Codebooks = Sequence[jax.Array] | jax.Array


def code_scores(residuals: jax.Array, codebook: jax.Array) -> jax.Array:
    """Returns how well each code serves each residual: `2 r.c - |c|^2`, `[..., K]` float32.

    The squared distance is `|r|^2` minus this. `|r|^2` is left out because it is the same for every code, so that it
    cannot change the order, and adding it would only round the scores.

    Args:
      residuals: `[..., Z]`.
      codebook: `[K, Z]`.
    """
    residuals = residuals.astype(jnp.float32)
    codebook = codebook.astype(jnp.float32)
    inner = jnp.matmul(residuals, codebook.T, precision=jax.lax.Precision.HIGHEST)
    norms = jnp.sum(codebook * codebook, axis=-1)
    # Rank promotion is spelled out, since a caller may have made it an error.
    return 2.0 * inner - jnp.broadcast_to(norms, inner.shape)


def squared_distances(residuals: jax.Array, codebook: jax.Array) -> jax.Array:
    """Returns `|r - c|^2` for residuals `[..., Z]` and a codebook `[K, Z]`: `[..., K]` float32, never below 0."""
    norms = jnp.sum(jnp.square(residuals.astype(jnp.float32)), axis=-1, keepdims=True)
    return jnp.maximum(norms - code_scores(residuals, codebook), 0.0)


def codebook_spacing(codebook: jax.Array) -> jax.Array:
    """Returns the mean squared distance from a codeword `[K, Z]` to the one nearest to it, a constant to gradients.

    It is the unit in which a soft assignment measures distances. A temperature then means the same at every level, on
    every data set and at every stage of training, though latent vectors grow and residuals shrink. It is 1 where there
    is no such distance: for a single codeword, or if all are the same.
    """
    size = codebook.shape[0]
    codebook = jax.lax.stop_gradient(codebook)
    others = jnp.where(jnp.eye(size, dtype=bool), jnp.inf, squared_distances(codebook, codebook))
    spacing = jnp.mean(jnp.min(others, axis=-1))
    return jnp.where((spacing > 0) & jnp.isfinite(spacing), spacing, 1.0)


def index_of_largest(scores: jax.Array) -> jax.Array:
    """Returns where the largest of scores `[..., K]` is: `[...]` int32, the lowest index of equal ones.

    It is `argmax`, which XLA for CPUs does one number after the other, by two reductions that it does many at a time.
    """
    size = scores.shape[-1]
    # Small whole numbers are exact in float32, and their largest is found faster than that of int32.
    from_the_end = jnp.arange(size, 0, -1, dtype=jnp.float32)
    is_largest = scores == jnp.max(scores, axis=-1, keepdims=True)
    last = jnp.max(jnp.where(is_largest, jnp.broadcast_to(from_the_end, scores.shape), 0.0), axis=-1)
    # With a NaN among them nothing is largest: any index will do, but it must be one.
    return jnp.minimum(size - last, size - 1).astype(jnp.int32)


def largest_few(scores: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Returns the `count` largest of scores `[..., K]` and where they are, `[..., count]`: as `jax.lax.top_k` does."""
    places = jnp.arange(scores.shape[-1])
    values, indices = [], []
    for _ in range(count):
        # Or else XLA would work out what is left anew each time.
        scores = jax.lax.optimization_barrier(scores)
        values.append(jnp.max(scores, axis=-1))
        indices.append(index_of_largest(scores))
        taken = jnp.broadcast_to(places, scores.shape) == indices[-1][..., None]
        scores = jnp.where(taken, -jnp.inf, scores)
    return jnp.stack(values, axis=-1), jnp.stack(indices, axis=-1)


def nearest_codes(residuals: jax.Array, codebook: jax.Array) -> jax.Array:
    """Returns the index of the codeword nearest to each residual `[..., Z]`: `[...]` int32, ties to the lowest."""
    return index_of_largest(code_scores(residuals, codebook))


def assign_codes(latents: jax.Array, codebooks: Codebooks) -> jax.Array:
    """Returns the codes of latent vectors `[..., Z]` by the greedy walk over the levels: `[..., L]` int32.

    Each level takes the codeword nearest to what the levels before it left over (Zeghidour et al., 2107.03312,
    algorithm 1). Training, evaluation, export and recommenders all come here for their codes.
    """
    residuals = latents.astype(jnp.float32)
    codes = []
    for codebook in codebooks:
        codes.append(nearest_codes(residuals, codebook))
        residuals = residuals - codebook[codes[-1]].astype(jnp.float32)
    return jnp.stack(codes, axis=-1)


def code_margins(latents: jax.Array, codebooks: Codebooks) -> jax.Array:
    """Returns by how much each code of `assign_codes` wins: `[..., L]` float32, 0 or more, for latents `[..., Z]`.

    It is the squared distance to the second nearest codeword less that to the nearest, divided by the residual's
    squared norm. Where it is near float32's rounding, 1e-7, another machine or framework may choose the other code. A
    level of a single code wins by infinity.
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
    """Returns the quantized latent vectors `[..., Z]` that codes `[..., L]` stand for: the sum of their codewords."""
    return sum(
        (codebook[codes[..., level]] for level, codebook in enumerate(codebooks)),
        start=jnp.zeros((), codebooks[0].dtype),
    )


def codewords_by_one_hot(one_hot: jax.Array, codebook: jax.Array) -> jax.Array:
    """Returns the codewords `[..., Z]` under one-hot (or soft) assignments `[..., K]`, exact for one-hot ones.

    A product and not a look-up: its gradient is a product too, the same on every run, where the gradient of a look-up
    is a scatter whose order of additions an accelerator does not promise.
    """
    return jnp.matmul(one_hot, codebook, precision=jax.lax.Precision.HIGHEST)
