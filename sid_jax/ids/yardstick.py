"""What plain methods would keep of the same vectors with as many codes: residual k-means, and chance."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.cluster.vq import kmeans2, vq

from sid_jax.streams import stream_rng

_ITERATIONS = 10


def kmeans_r2(inputs: np.ndarray, sizes: Sequence[int]) -> list[float]:
    """Returns R^2 by depth of residual k-means: k-means on the inputs `[N, D]`, then on what it leaves, and so on.

    It is fitted on the inputs that it is measured on, from random items and in few iterations.
    """
    residual = inputs - inputs.mean(axis=0)
    spread = float(np.square(residual, dtype=np.float64).sum()) or 1.0
    found = []
    for level, size in enumerate(sizes):
        rng = stream_rng(0, f"yardstick/{level}")
        with warnings.catch_warnings():
            # Of a cluster that lost its items: it stays empty, which is what a yardstick may do.
            warnings.simplefilter("ignore", UserWarning)
            centroids, _ = kmeans2(residual, min(size, len(residual)), _ITERATIONS, minit="points", rng=rng)
        residual = residual - centroids[vq(residual, centroids)[0]]
        found.append(1 - float(np.square(residual, dtype=np.float64).sum()) / spread)
    return found


def random_r2(num_items: int, sizes: Sequence[int]) -> list[float]:
    """Returns R^2 by depth that codes drawn at random would reach with the best codebooks for them.

    The means of K random groups of N items explain (K - 1) / (N - 1) of the variance in expectation; the next level's
    do the same with what is left.
    """
    left, found = 1.0, []
    for size in sizes:
        left *= 1 - min(1.0, (size - 1) / max(num_items - 1, 1))
        found.append(1 - left)
    return found
