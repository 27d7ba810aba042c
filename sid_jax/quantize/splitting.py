"""Where k-means begins, without chance: clusters cut in two along their principal axis, the worst one first."""

from __future__ import annotations

import heapq

import numpy as np

# Power iterations towards an axis. It need not be exact: a cut along any long axis is a good one.
_ITERATIONS = 16


def centroids_by_splitting(points: np.ndarray, num_clusters: int) -> np.ndarray:
    """Returns starting centroids by PCA-Part (Su and Dy, Intelligent Data Analysis 11(4), 2007, section 3).

    All points are one cluster at first. The cluster with the largest sum of squared distances to its mean is cut at its
    mean, across the axis along which it is longest, until there are K. So the start depends on the points alone: codes
    of two runs that differ in their seed, or in a few items, have more in common than from random starts.

    Args:
      points: `[N, Z]` float32.
      num_clusters: K.

    Returns:
      `[K, Z]` float32. With fewer than K distinct points some centroids are equal.
    """
    # The negative error first: a heap hands out its smallest entry. The number settles ties.
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
