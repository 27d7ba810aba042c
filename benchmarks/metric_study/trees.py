"""Codes from methods other than residual quantization: cluster trees and product quantization."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from scipy.cluster.vq import kmeans2

# A function of the vectors under a node, `[n, D]`, and of K. It returns the child node of each vector, `[n]`.
_Split = Callable[[np.ndarray, int], np.ndarray]


def balanced(vectors: np.ndarray, num_codes: int, num_levels: int) -> np.ndarray:
    """Returns codes of a tree that splits each node along its first principal axis into K parts of equal size."""
    return _tree(vectors, num_codes, num_levels, _cut_evenly)


def kmeans_tree(vectors: np.ndarray, num_codes: int, num_levels: int) -> np.ndarray:
    """Returns codes of hierarchical k-means, like DSI's document ids (Tay et al., 2202.06991, section 3.2)."""
    return _tree(vectors, num_codes, num_levels, _cluster)


def product(vectors: np.ndarray, num_levels: int, num_codes: int) -> np.ndarray:
    """Returns codes of product quantization: k-means on each of L equal groups of features separately."""
    return np.stack([_cluster(part, num_codes) for part in np.split(vectors, num_levels, axis=1)], axis=1)


def _tree(vectors: np.ndarray, num_codes: int, num_levels: int, split: _Split) -> np.ndarray:
    codes = np.zeros((len(vectors), num_levels), np.int32)
    for level in range(num_levels):
        node = np.unique(codes[:, :level], axis=0, return_inverse=True)[1].reshape(-1)
        for each in np.unique(node) if level else [0]:
            rows = np.flatnonzero(node == each)
            codes[rows, level] = split(vectors[rows], num_codes)
    return codes


def _cut_evenly(vectors: np.ndarray, num_codes: int) -> np.ndarray:
    centered = vectors - vectors.mean(axis=0)
    axis = np.linalg.svd(centered, full_matrices=False)[2][0]
    place = np.empty(len(vectors), np.int64)
    place[np.argsort(centered @ axis, kind="stable")] = np.arange(len(vectors))
    return place * num_codes // max(len(vectors), num_codes)


def _cluster(vectors: np.ndarray, num_codes: int) -> np.ndarray:
    if len(vectors) <= num_codes:
        return np.arange(len(vectors))
    with warnings.catch_warnings():
        # SciPy warns of clusters without items.
        warnings.simplefilter("ignore", UserWarning)
        return kmeans2(vectors, num_codes, 25, minit="++", rng=np.random.default_rng(0))[1]
