"""Scaling of vectors, which is fitted once to the training items and stored with the model.

The scaling is invertible, except that unit normalization is not undone.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sid_jax.data.blocks import in_blocks
from sid_jax.data.layout import Layout
from sid_jax.errors import UserError

STANDARDIZE = ("global", "feature", "none")
# Number of rows per block in which moments are computed: a block in float64 must fit into a CPU's cache.
_ROWS_A_BLOCK = 1024


@functools.partial(jax.tree_util.register_dataclass, data_fields=["mean", "scale"], meta_fields=["unit_norm", "layout"])
@dataclasses.dataclass(frozen=True)
class Scaling:
    """`(x - mean) / scale`, where x is first scaled to length 1 if `unit_norm`. A JAX pytree.

    Attributes:
      unit_norm: whether each vector is first divided by its length; with a layout, each part's own `unit_norm` applies
        instead. Static.
      mean: `[D]` float32, subtracted.
      scale: `[D]` float32, positive, the divisor.
      layout: the parts of a vector, which are normalized separately. A missing part (NaN) becomes 0 after the scaling.
        None for vectors without parts. Static.
    """

    unit_norm: bool
    mean: jax.Array
    scale: jax.Array
    layout: Layout | None = None


def fit_scaling(
    vectors: np.ndarray, *, unit_norm: bool, center: bool, standardize: str, layout: Layout | None = None
) -> Scaling:
    """Returns the scaling fitted to the vectors; sums are computed in float64.

    Args:
      vectors: `[N, D]` float32.
      unit_norm: whether to divide each vector by its length.
      center: whether to subtract the mean vector.
      standardize: "global" divides all features by one number, so that their mean square is 1; "feature" divides each
        feature by its standard deviation; "none" does not divide. A divisor of 0 is replaced by 1.
      layout: the parts of the vectors. Each part is standardized by itself, over the items that have it, and then
        scaled so that its variance is proportional to its weight. If `standardize` is "none", each part is only
        multiplied by a factor that depends on its weight. None for vectors without parts.

    Raises:
      UserError: if `standardize` is not one of these values.
    """
    if standardize not in STANDARDIZE:
        raise UserError(f"config.data.standardize is {standardize!r}; choose one of {', '.join(STANDARDIZE)}")
    mean, variance, _ = moments(vectors, unit_norm, layout)
    subtracted = mean if center else np.zeros_like(mean)
    parts = [slice(None)] if layout is None else layout.slices
    scale = np.concatenate([_divisors(mean[each], variance[each], subtracted[each], standardize) for each in parts])
    if layout is not None:
        total = sum(part.weight for part in layout.parts)
        for part, each in zip(layout.parts, parts, strict=True):
            share = part.weight / total * len(mean) / (1 if standardize == "none" else part.num_features)
            scale[each] /= np.sqrt(share)
    return Scaling(
        unit_norm=unit_norm,
        mean=jnp.asarray(subtracted, jnp.float32),
        scale=jnp.asarray(scale, jnp.float32),
        layout=layout,
    )


def _divisors(mean: np.ndarray, variance: np.ndarray, subtracted: np.ndarray, standardize: str) -> np.ndarray:
    """Returns the divisor of each feature, `[D]`; a divisor that is 0, up to rounding, is replaced by 1."""
    size = variance + mean**2
    if standardize == "global":
        square = np.full_like(mean, np.mean(variance + (mean - subtracted) ** 2))
        size = np.full_like(mean, size.mean())
    else:
        square = variance if standardize == "feature" else np.ones_like(mean)
    # The computed variance of a constant feature is a rounding error rather than 0.
    constant = square <= np.finfo(np.float32).eps ** 2 * size
    # A standard deviation below float32's normal range cannot be a divisor, so the feature counts as constant.
    constant |= np.sqrt(square) < np.finfo(np.float32).tiny
    return np.asarray(np.sqrt(np.where(constant, 1.0, square)))


def normalize(vectors: ArrayLike, unit_norm: bool, layout: Layout | None = None) -> jax.Array:
    """Returns the vectors `[..., D]`, divided by their lengths if `unit_norm`; zero vectors stay zero.

    With a layout, each part whose `unit_norm` is set is divided by its own length, and a part that is NaN stays NaN.
    """
    vectors = jnp.asarray(vectors)
    if layout is not None:
        blocks = zip(layout.parts, layout.slices, strict=True)
        return jnp.concatenate([normalize(vectors[..., each], part.unit_norm) for part, each in blocks], axis=-1)
    if not unit_norm:
        return vectors
    # Divide by the largest entry first: squares of very large or small numbers leave float32's range. The result does
    # not depend on this divisor, so the divisor needs no gradient.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(vectors), axis=-1, keepdims=True))
    shrunk = vectors / jnp.where(largest > 0, largest, 1)
    square = jnp.sum(shrunk**2, axis=-1, keepdims=True)
    return shrunk / jnp.sqrt(jnp.where(square > 0, square, 1))


def apply_scaling(scaling: Scaling, vectors: ArrayLike) -> jax.Array:
    """Scales vectors `[..., D]`; a missing part becomes 0. Works in jit, vmap and grad."""
    inputs = normalize(vectors, scaling.unit_norm, scaling.layout)
    scaled = (inputs - _to_rank(scaling.mean, inputs.ndim)) / _to_rank(scaling.scale, inputs.ndim)
    return scaled if scaling.layout is None else jnp.where(jnp.isnan(scaled), 0.0, scaled)


def dense_vectors(vectors: np.ndarray, layout: Layout | None) -> np.ndarray:
    """Returns vectors `[N, D]` for methods without support for parts; with a layout, parts are scaled by their weights.

    A missing part becomes 0, which is the scaled mean over the items that have the part.
    """
    if layout is None:
        return vectors
    scaling = fit_scaling(vectors, unit_norm=True, center=True, standardize="global", layout=layout)
    return np.array(apply_scaling(scaling, vectors))


def present_parts(layout: Layout, vectors: jax.Array) -> jax.Array:
    """Returns a mask `[..., P]` bool of the parts that vectors `[..., D]` have."""
    return jnp.stack([~jnp.isnan(vectors[..., each.start]) for each in layout.slices], axis=-1)


def fit_filler(layout: Layout, scaled: np.ndarray, there: np.ndarray, *, dropout: float) -> np.ndarray:
    """Returns the linear map `[D, D]` float32 that predicts each part from a vector in which missing parts are 0.

    The map is the ridge regression of each part on the other parts. It assumes that each of the other parts is
    missing with probability `dropout`. The second moments of two parts are taken over the items that have both; if no
    item has both, the two parts do not predict each other.

    Args:
      layout: the parts.
      scaled: `[N, D]` float32, 0 where a part is missing.
      there: `[N, P]` bool, the parts that items have.
      dropout: probability, below 1, that each of the other parts is missing. With only two parts, `dropout` has no
        effect on the map, since each part is predicted from a single other part.
    """
    both = (there.astype(np.float64).T @ there)[layout.part_of_feature][:, layout.part_of_feature]
    moments = (scaled.T @ scaled).astype(np.float64) / np.maximum(both, 1)
    filler = np.zeros(moments.shape, np.float32)
    for number, part in enumerate(layout.slices):
        others = np.flatnonzero(layout.part_of_feature != number)
        of = layout.part_of_feature[others]
        square = moments[np.ix_(others, others)] * np.where(of[:, None] == of, 1.0, 1.0 - dropout)
        # The ridge grows with (number of features) / (number of items), as the sampling error of the moments does.
        ridge = square.trace() / len(others) * (0.01 + len(others) / len(scaled))
        square[np.diag_indices_from(square)] += ridge
        filler[np.ix_(others, np.arange(part.start, part.stop))] = np.linalg.solve(square, moments[others, part])
    return filler


def invert_scaling(scaling: Scaling, scaled: ArrayLike) -> jax.Array:
    """Undoes the mean and the scale of scaled vectors `[..., D]`; unit normalization is not undone."""
    scaled = jnp.asarray(scaled)
    return scaled * _to_rank(scaling.scale, scaled.ndim) + _to_rank(scaling.mean, scaled.ndim)


def _to_rank(features: jax.Array, rank: int) -> jax.Array:
    """Returns `[D]` as `[1, ..., D]`: reshaped explicitly, since a caller may forbid implicit rank promotion."""
    return jnp.reshape(features, (1,) * (rank - 1) + (-1,))


def moments(
    vectors: np.ndarray, unit_norm: bool, layout: Layout | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns each feature's mean, its variance and the number of items that have it, each `[D]` float64.

    Each block gives its sums of squared differences from its own means. These sums are merged (Chan, Golub and LeVeque,
    Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979). Small variances are therefore not
    lost to rounding, although the vectors are read only once. With a layout, items that lack a part do not count for
    the part's features; for a part that no item has, all three results are 0.
    """
    counts, mean, squares = np.zeros((3, vectors.shape[1]))
    for block in _prepared_blocks(vectors, unit_norm, layout):
        has = np.isfinite(block).sum(axis=0) if layout is not None else len(block)
        total = np.nansum(block, axis=0) if layout is not None else block.sum(axis=0)
        of_block = total / np.maximum(has, 1)
        centered = block - of_block
        if layout is not None:
            centered = np.nan_to_num(centered)
        away, together = of_block - mean, np.maximum(counts + has, 1)
        squares += np.einsum("nd,nd->d", centered, centered) + away**2 * counts * has / together
        mean += away * has / together
        counts += has
    return mean, squares / np.maximum(counts, 1), counts


def _prepared_blocks(vectors: np.ndarray, unit_norm: bool, layout: Layout | None) -> Iterator[np.ndarray]:
    for _, block in in_blocks(vectors, _ROWS_A_BLOCK):
        if layout is None:
            yield _prepared(block, unit_norm)
        else:
            parts = zip(layout.parts, layout.slices, strict=True)
            yield np.concatenate([_prepared(block[:, each], part.unit_norm) for part, each in parts], axis=1)


def _prepared(block: np.ndarray, unit_norm: bool) -> np.ndarray:
    block = np.asarray(block, dtype=np.float64)
    if not unit_norm:
        return block
    # `np.linalg.norm` would write two temporary arrays of the size of the block.
    lengths = np.sqrt(np.einsum("nd,nd->n", block, block))[:, None]
    return block / np.where(lengths > 0, lengths, 1)
