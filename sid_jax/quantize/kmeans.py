"""k-means: initialization, Lloyd iterations, and residual k-means, which runs k-means level by level.

References:
  Liu et al., Improved Residual Vector Quantization, 1509.05195 (subspaces of growing dimension, with warm starts).
  Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding, SODA 2007.
  Lloyd, Least Squares Quantization in PCM, IEEE Transactions on Information Theory 28(2), 1982.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from sid_jax.one_thread import one_blas_thread
from sid_jax.quantize.losses import squared_error
from sid_jax.quantize.nearest import nearest_codes

# Number of power iterations for the first principal axis of a cluster. The axis need not be exact: a cut perpendicular
# to any axis of large variance is good enough.
_ITERATIONS = 16


def centroids_by_splitting(points: np.ndarray, num_clusters: int) -> np.ndarray:
    """Returns initial centroids by PCA-Part (Su and Dy, Intelligent Data Analysis 11(4), 2007, section 3).

    Initially, all points are one cluster. The cluster with the largest sum of squared distances to its mean is split at
    the mean, perpendicular to its first principal axis, until there are K clusters. The centroids depend only on the
    points. The codes of two runs with different seeds, or with a few different items, therefore agree more than with
    random centroids.

    Args:
      points: `[N, Z]` float32.
      num_clusters: K.

    Returns:
      `[K, Z]` float32. With fewer than K distinct points, some centroids are equal.
    """
    # An entry has a cluster's negated error, its first row number, and all its row numbers. The error is negated, since
    # a heap pops its smallest entry. The first row number breaks ties.
    clusters = [(-_error(points), 0, np.arange(len(points)))]
    done: list[np.ndarray] = []
    while len(clusters) + len(done) < num_clusters and clusters:
        _, _, rows = heapq.heappop(clusters)
        parts = _cut(points, rows)
        if len(parts) == 1:
            done.append(rows)
            continue
        for part in parts:
            heapq.heappush(clusters, (-_error(points[part]), int(part[0]), part))
    everything = [rows for _, _, rows in sorted(clusters, key=lambda each: each[1])] + done
    means = np.stack([points[rows].mean(axis=0) for rows in everything])
    return np.resize(means, (num_clusters, points.shape[1])).astype(np.float32)


def _cut(points: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    centered = points[rows] - points[rows].mean(axis=0)
    side = centered @ _longest_axis(centered) > 0
    parts = [rows[~side], rows[side]]
    return parts if all(map(len, parts)) else [rows]


def _longest_axis(centered: np.ndarray) -> np.ndarray:
    axis = np.zeros(centered.shape[1], centered.dtype)
    axis[np.square(centered).sum(axis=0).argmax()] = 1.0
    for _ in range(_ITERATIONS):
        axis = centered.T @ (centered @ axis)
        length = np.linalg.norm(axis)
        if not length:
            break
        axis = axis / length
    return axis


def _error(points: np.ndarray) -> float:
    return float(np.square(points - points.mean(axis=0)).sum())


# Numbers of principal axes. k-means uses the first 8 axes, then the first 16, and so on, and finally all features.
_AXES_SHOWN = (8, 16, 32, 64)
# Maximum number of Lloyd iterations with each of these numbers of axes. The iterations need not converge, since their
# result only initializes the k-means with more axes.
_ITERATIONS_SHOWN = 10


# Number of points per block when codes are assigned on CPUs.
_ITEMS_A_BLOCK = 1024


@functools.partial(jax.jit, static_argnames=("num_clusters",))
def kmeans_plus_plus(key: jax.Array, points: jax.Array, num_clusters: int) -> jax.Array:
    """Draws initial centroids `[K, Z]` from points `[N, Z]` with k-means++.

    The probability of a point is proportional to its squared distance to the nearest centroid drawn so far. If fewer
    than K points are distinct, centroids repeat.
    """
    first_key, *keys = jax.random.split(key, num_clusters)
    first = points[jax.random.randint(first_key, (), 0, points.shape[0])]

    def distances_to(centroid: jax.Array) -> jax.Array:
        return squared_error(points, jnp.broadcast_to(centroid, points.shape))

    def draw(nearest: jax.Array, draw_key: jax.Array) -> tuple[jax.Array, jax.Array]:
        # log(0) is -inf, so a point that equals a centroid is not drawn, unless all points equal centroids.
        chosen = points[jax.random.categorical(draw_key, jnp.log(nearest))]
        return jnp.minimum(nearest, distances_to(chosen)), chosen

    if not keys:
        return first[None]
    _, rest = jax.lax.scan(draw, distances_to(first), jnp.stack(keys))
    return jnp.concatenate([first[None], rest])


@functools.partial(jax.jit, static_argnames=("num_iterations",))
def lloyd(points: jax.Array, centroids: jax.Array, num_iterations: int) -> jax.Array:
    """Runs Lloyd iterations: moves centroids `[K, Z]` to the means of their points `[N, Z]`, `num_iterations` times.

    The error of a point is its squared distance to its centroid. The first centroid without points moves to the point
    with the largest error, the second such centroid to the point with the second largest error, and so on.
    """

    def iterate(_: int, centroids: jax.Array) -> jax.Array:
        codes = assign_in_blocks(points, centroids)
        means, counts = cluster_means(points, codes, centroids.shape[0])
        empty = counts == 0
        # The errors are sorted only if a cluster is empty, since sorting takes as long as the rest of an iteration.
        return jax.lax.cond(
            jnp.any(empty),
            lambda: fill_rows(means, empty, points, squared_error(points, centroids[codes])),
            lambda: means,
        )

    return jax.lax.fori_loop(0, num_iterations, iterate, centroids)


@functools.partial(jax.jit, static_argnames=("num_clusters",))
def cluster_means(points: jax.Array, codes: jax.Array, num_clusters: int) -> tuple[jax.Array, jax.Array]:
    """Returns the mean `[K, Z]` of each code's points `[N, Z]`, 0 for a code without points, and the counts `[K]`."""
    if jax.default_backend() == "cpu":
        counts = jnp.zeros(num_clusters, points.dtype).at[codes].add(1.0)
        sums = jnp.zeros((num_clusters, points.shape[1]), points.dtype).at[codes].add(points)
    else:
        # The order of a scatter's additions is not deterministic on accelerators.
        one_hot = jax.nn.one_hot(codes, num_clusters, dtype=points.dtype)
        counts = jnp.sum(one_hot, axis=0)
        sums = jnp.matmul(one_hot.T, points, precision=jax.lax.Precision.HIGHEST)
    return sums / jnp.maximum(counts, 1.0)[:, None], counts


def assign_in_blocks(points: jax.Array, centroids: jax.Array) -> jax.Array:
    """Returns `nearest_codes` of points `[N, Z]`, on CPUs block by block, so that the scores stay in the cache."""
    num_points, size = points.shape
    if jax.default_backend() != "cpu" or num_points <= _ITEMS_A_BLOCK:
        return nearest_codes(points, centroids)
    # The last block is padded. With the argument `batch_size`, `lax.map` would compile a second program for it.
    blocks = jnp.pad(points, ((0, -num_points % _ITEMS_A_BLOCK), (0, 0))).reshape(-1, _ITEMS_A_BLOCK, size)
    return jax.lax.map(lambda block: nearest_codes(block, centroids), blocks).reshape(-1)[:num_points]


def fill_rows(rows: jax.Array, empty: jax.Array, candidates: jax.Array, priorities: jax.Array) -> jax.Array:
    """Replaces each of the rows `[K, Z]` for which `empty` `[K]` is True by one of the candidates `[N, Z]`.

    The first of these rows gets the candidate with the highest of the `priorities` `[N]`, the second one the candidate
    with the second highest, and so on. With more empty rows than candidates, candidates repeat.
    """
    _, best = jax.lax.top_k(priorities, min(rows.shape[0], candidates.shape[0]))
    rank = jnp.cumsum(empty) - 1
    return jnp.where(empty[:, None], candidates[best[rank % best.shape[0]]], rows)


def kmeans(points: jax.Array, num_clusters: int, num_iterations: int, key: jax.Array | None = None) -> jax.Array:
    """Returns K centroids `[K, Z]` of points `[N, Z]` float32.

    Without a key, the result is deterministic: centroids are initialized by `centroids_by_splitting` along the first
    few principal axes, and refined with more and more axes, by at most 10 Lloyd iterations with each number of axes. In
    many dimensions, k-means stays near its initialization, which should therefore use the directions of largest
    variance, not directions that separate single points.

    With a key, centroids are initialized by k-means++ with all features. In both cases, `num_iterations` Lloyd
    iterations with all features follow.
    """
    if key is not None:
        return lloyd(points, kmeans_plus_plus(key, points, num_clusters), num_iterations)
    first, *views = [*_along_longest_axes(points), points]
    with one_blas_thread():
        centroids = jnp.asarray(centroids_by_splitting(np.asarray(first), num_clusters))
    for view, more in itertools.pairwise([first, *views]):
        centroids = _with_more_axes(view, more, centroids, min(num_iterations, _ITERATIONS_SHOWN))
    return lloyd(points, centroids, num_iterations)


@functools.partial(jax.jit, static_argnames=("num_iterations",))
def _with_more_axes(view: jax.Array, more: jax.Array, centroids: jax.Array, num_iterations: int) -> jax.Array:
    """Refines centroids `[K, z]` by Lloyd iterations, and returns them with more features, `[K, Z]`.

    `view` `[N, z]` and `more` `[N, Z]` are the same points with fewer and with more features. The iterations use
    `view`, and a centroid without points keeps its place during the iterations. A returned centroid is the mean of its
    points in `more`, or 0 without points; `lloyd` moves centroids without points at the end.
    """
    num_clusters = len(centroids)

    def iterate(_: int, centroids: jax.Array) -> jax.Array:
        means, counts = cluster_means(view, assign_in_blocks(view, centroids), num_clusters)
        return jnp.where(counts[:, None] > 0, means, centroids)

    centroids = jax.lax.fori_loop(0, num_iterations, iterate, centroids)
    return cluster_means(more, assign_in_blocks(view, centroids), num_clusters)[0]


def _along_longest_axes(points: jax.Array) -> list[jax.Array]:
    """Returns the points' coordinates along the first n principal axes, for n = 8, 16, 32 and 64 as long as n < Z."""
    numbers = [number for number in _AXES_SHOWN if number < points.shape[1]]
    if not numbers:
        return []
    covariance = np.asarray(_covariance(points), np.float64)
    last = len(covariance) - 1
    with one_blas_thread():
        _, axes = scipy.linalg.eigh(covariance, subset_by_index=[last + 1 - numbers[-1], last])
    # `eigh` sorts in ascending order; after reversing, the axis of the largest variance is first.
    return _coordinates(points, axes[:, ::-1].astype(points.dtype), tuple(numbers))


@functools.partial(jax.jit, static_argnames=("numbers",))
def _coordinates(points: jax.Array, axes: jax.Array, numbers: tuple[int, ...]) -> list[jax.Array]:
    """Returns, for each n of `numbers`, the coordinates of points `[N, Z]` along the first n of the axes `[Z, z]`."""
    along = jnp.matmul(points, axes, precision=jax.lax.Precision.HIGHEST)
    return [along[:, :number] for number in numbers]


@jax.jit
def _covariance(points: jax.Array) -> jax.Array:
    centered = points - jnp.mean(points, axis=0, keepdims=True)
    return jnp.matmul(centered.T, centered, precision=jax.lax.Precision.HIGHEST) / len(points)


def residual_kmeans(
    points: jax.Array, codebook_sizes: Sequence[int], num_iterations: int, key: jax.Array | None = None
) -> list[jax.Array]:
    """Returns L codebooks `[K, Z]` for points `[N, Z]`: k-means on the points, then on the residuals, and so on."""
    keys = [None] * len(codebook_sizes) if key is None else jax.random.split(key, len(codebook_sizes))
    codebooks = []
    for level_key, size in zip(keys, codebook_sizes, strict=True):
        codebooks.append(kmeans(points, size, num_iterations, level_key))
        if len(codebooks) < len(codebook_sizes):
            points = _residuals(points, codebooks[-1])
    return codebooks


@jax.jit
def _residuals(points: jax.Array, codebook: jax.Array) -> jax.Array:
    return points - codebook[assign_in_blocks(points, codebook)]
