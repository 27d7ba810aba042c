"""Scaling of vectors: fitted once on the corpus, kept with the model, undone by its inverse."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sid_jax.data.blocks import in_blocks
from sid_jax.errors import UserError

STANDARDIZE = ("global", "feature", "none")


@functools.partial(jax.tree_util.register_dataclass, data_fields=["mean", "scale"], meta_fields=["unit_norm"])
@dataclasses.dataclass(frozen=True)
class Scaling:
    """`(x - mean) / scale`, after x was brought to length 1 where `unit_norm` says so. A JAX pytree.

    Attributes:
      unit_norm: whether each vector is first divided by its length; static.
      mean: `[D]` float32, what is subtracted.
      scale: `[D]` float32, positive, what is divided by.
    """

    unit_norm: bool
    mean: jax.Array
    scale: jax.Array


def fit_scaling(vectors: np.ndarray, *, unit_norm: bool, center: bool, standardize: str) -> Scaling:
    """Returns the scaling that fits the corpus; sums are float64.

    Args:
      vectors: `[N, D]` float32.
      unit_norm: divide each vector by its length.
      center: subtract the mean vector.
      standardize: "global" divides by one number, so that the mean square of a feature is 1; "feature" divides each
        feature by its standard deviation; "none". A feature (or a corpus) that does not vary is divided by 1.

    Raises:
      UserError: if `standardize` is none of the three.
    """
    if standardize not in STANDARDIZE:
        raise UserError(f"data.standardize={standardize!r}: choose one of {', '.join(STANDARDIZE)}")
    mean, variance = moments(vectors, unit_norm)
    subtracted = mean if center else np.zeros_like(mean)
    size = variance + mean**2
    if standardize == "global":
        square = np.full_like(mean, np.mean(variance + (mean - subtracted) ** 2))
        size = np.full_like(mean, size.mean())
    else:
        square = variance if standardize == "feature" else np.ones_like(mean)
    # What does not vary comes out of the sums as a rounding error rather than 0.
    constant = square <= np.finfo(np.float32).eps ** 2 * size
    # Nor can what float32 has no normal number for divide.
    constant |= np.sqrt(square) < np.finfo(np.float32).tiny
    return Scaling(
        unit_norm=unit_norm,
        mean=jnp.asarray(subtracted, jnp.float32),
        scale=jnp.asarray(np.sqrt(np.where(constant, 1.0, square)), jnp.float32),
    )


def normalize(vectors: ArrayLike, unit_norm: bool) -> jax.Array:
    """Returns the vectors `[..., D]`, divided by their lengths if `unit_norm`; zero vectors stay zero."""
    vectors = jnp.asarray(vectors)
    if not unit_norm:
        return vectors
    # The largest entry is divided out first: squares of very large or small numbers leave float32's range. The length
    # does not depend on it, so it needs no gradient.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(vectors), axis=-1, keepdims=True))
    shrunk = vectors / jnp.where(largest > 0, largest, 1)
    square = jnp.sum(shrunk**2, axis=-1, keepdims=True)
    return shrunk / jnp.sqrt(jnp.where(square > 0, square, 1))


def apply_scaling(scaling: Scaling, vectors: ArrayLike) -> jax.Array:
    """Returns `[..., D]` scaled vectors of `[..., D]` raw ones; for use in jit, vmap and grad."""
    inputs = normalize(vectors, scaling.unit_norm)
    return (inputs - _to_rank(scaling.mean, inputs.ndim)) / _to_rank(scaling.scale, inputs.ndim)


def invert_scaling(scaling: Scaling, scaled: ArrayLike) -> jax.Array:
    """Returns `[..., D]` vectors as they were before mean and scale; a vector's own length does not come back."""
    scaled = jnp.asarray(scaled)
    return scaled * _to_rank(scaling.scale, scaled.ndim) + _to_rank(scaling.mean, scaled.ndim)


def _to_rank(features: jax.Array, rank: int) -> jax.Array:
    """Returns `[D]` as `[1, ..., D]`: promoted in so many words, since a caller may have made promotion an error."""
    return jnp.reshape(features, (1,) * (rank - 1) + (-1,))


def moments(vectors: np.ndarray, unit_norm: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns each feature's mean and variance, `[D]` float64, in two passes: one pass loses small variances."""
    mean = sum(_prepared(block, unit_norm).sum(axis=0) for _, block in in_blocks(vectors)) / len(vectors)
    squares = (((_prepared(block, unit_norm) - mean) ** 2).sum(axis=0) for _, block in in_blocks(vectors))
    variance = sum(squares) / len(vectors)
    return np.asarray(mean), np.asarray(variance)


def _prepared(block: np.ndarray, unit_norm: bool) -> np.ndarray:
    block = np.asarray(block, dtype=np.float64)
    if not unit_norm:
        return block
    lengths = np.linalg.norm(block, axis=1, keepdims=True)
    return block / np.where(lengths > 0, lengths, 1)
