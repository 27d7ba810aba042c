"""Optimized product quantization: a rotation, and one codebook for each subvector of the rotated vector.

A subvector is a range of features. Product quantization is expressed as residual quantization with one level per
subvector. A codeword is 0 outside its subvector. The greedy assignment therefore finds each subvector's nearest
codeword, and the sum of the codewords is the concatenation of their subvectors.

References:
  Jégou et al., Product Quantization for Nearest Neighbor Search, IEEE TPAMI 33(1), 2011.
  Ge et al., Optimized Product Quantization for Approximate Nearest Neighbor Search, CVPR 2013.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.quantize.kmeans import centroids_by_splitting, cluster_means, fill_rows
from sid_jax.quantize.losses import squared_error
from sid_jax.quantize.nearest import nearest_codes

# Minimum eigenvalue, as a share of the largest one. Smaller eigenvalues are raised to this minimum.
_SMALLEST_SHARE = 1e-6


def parts_of(num_features: int, num_parts: int) -> list[slice]:
    """Returns the range of features of each subvector, as a slice.

    If the features cannot be divided evenly, the first subvectors have one more feature than the others.

    Raises:
      ValueError: if there are fewer features than subvectors.
    """
    if num_features < num_parts:
        raise ValueError(
            f"{num_features} features cannot be divided into {num_parts} subvectors; set config.model.num_levels to "
            f"{num_features} or less"
        )
    size, left = divmod(num_features, num_parts)
    ends = np.cumsum([size + (part < left) for part in range(num_parts)]).tolist()
    return [slice(first, end) for first, end in zip([0, *ends[:-1]], ends, strict=True)]


def only_parts(codebooks: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """Returns the given codebooks `[K, Z]`, set to 0 outside the subvector of their level."""
    parts = parts_of(codebooks[0].shape[1], len(codebooks))
    return tuple(
        jnp.pad(codebook[:, part], ((0, 0), (part.start, codebook.shape[1] - part.stop)))
        for part, codebook in zip(parts, codebooks, strict=True)
    )


def product_kmeans(
    points: jax.Array, codebook_sizes: Sequence[int], num_iterations: int
) -> tuple[np.ndarray, list[jax.Array]]:
    """Returns the rotation and the codebooks of optimized product quantization (Ge et al., section 3.1).

    The rotation is initialized by the parametric solution (section 3.2): principal axes, allocated so that the product
    of variances is about the same in all subvectors. Two updates then alternate. The first is one Lloyd iteration in
    each subvector. The second sets the rotation to the one that minimizes the distance of the points to their codewords
    (orthogonal Procrustes). The result is deterministic.

    Args:
      points: `[N, Z]` float32, centered.
      codebook_sizes: K of each of the L subvectors.
      num_iterations: number of Lloyd iterations. Between two iterations, the rotation is updated.

    Returns:
      The rotation `[Z, Z]` float32, which multiplies points from the right, and L codebooks `[K, Z]` for the rotated
      points. A codebook is 0 outside the subvector of its level.

    Raises:
      ValueError: if there are fewer features than subvectors.
    """
    parts = parts_of(points.shape[1], len(codebook_sizes))
    rotation = balanced_axes(np.asarray(points), [part.stop - part.start for part in parts])
    rotated = _rotated(points, rotation)
    codewords = [
        jnp.asarray(centroids_by_splitting(np.asarray(rotated[:, part]), size))
        for part, size in zip(parts, codebook_sizes, strict=True)
    ]
    means: list[jax.Array] = []
    for _ in range(num_iterations):
        if means:
            rotation = nearest_rotation(_inner(points, jnp.concatenate(means, axis=1)))
            rotated = _rotated(points, rotation)
        moved = [_move(rotated[:, part], each) for part, each in zip(parts, codewords, strict=True)]
        codewords, means = [list(each) for each in zip(*moved, strict=True)]
    outside = [((0, 0), (part.start, points.shape[1] - part.stop)) for part in parts]
    return rotation, [jnp.pad(each, around) for each, around in zip(codewords, outside, strict=True)]


def balanced_axes(points: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """Returns the principal axes of points `[N, Z]` as columns, `[Z, Z]` float32, ordered by subvector.

    Axes are allocated in order of decreasing variance. Each axis is allocated to the subvector with the smallest
    product of variances so far, among the subvectors that are not full.

    Args:
      points: `[N, Z]`, centered.
      widths: number of features of each subvector; their sum is Z.
    """
    values, axes = np.linalg.eigh(points.T.astype(np.float64) @ points)
    logs = np.log(np.maximum(values / max(values[-1], np.finfo(np.float64).tiny), _SMALLEST_SHARE))
    # Variances are scaled so that the smallest logarithm is 0. An additional axis then never reduces the product of a
    # subvector's variances.
    logs -= logs.min()
    chosen: list[list[int]] = [[] for _ in widths]
    for axis in np.argsort(-logs, kind="stable").tolist():
        room = [part for part, width in enumerate(widths) if len(chosen[part]) < width]
        chosen[min(room, key=lambda part: logs[chosen[part]].sum())].append(axis)
    return axes[:, np.concatenate(chosen)].astype(np.float32)


def nearest_rotation(products: np.ndarray) -> np.ndarray:
    """Returns the orthogonal matrix R `[Z, Z]` float32 that minimizes `|X R - Y|`, from `X^T Y` (Schönemann, 1966)."""
    left, _, right = np.linalg.svd(np.asarray(products, np.float64))
    return (left @ right).astype(np.float32)


@jax.jit
def _move(points: jax.Array, centroids: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns centroids of one subvector `[K, F]` after one Lloyd iteration, and the mean of each point's cluster.

    The means are `[N, F]`, where F is the number of features of the subvector.
    """
    codes = nearest_codes(points, centroids)
    means, counts = cluster_means(points, codes, len(centroids))
    nearest = means[codes]
    return fill_rows(means, counts == 0, points, squared_error(points, nearest)), nearest


@jax.jit
def _rotated(points: jax.Array, rotation: jax.Array) -> jax.Array:
    return jnp.matmul(points, rotation, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _inner(points: jax.Array, others: jax.Array) -> jax.Array:
    return jnp.matmul(points.T, others, precision=jax.lax.Precision.HIGHEST)
