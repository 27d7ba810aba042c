"""Metrics of vectors: R^2 of their reconstructions from codes, the R^2 of baselines, and nearest neighbors."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from sid_jax.data.blocks import take_rows
from sid_jax.data.layout import Layout
from sid_jax.data.scaling import Scaling, apply_scaling, moments, normalize
from sid_jax.metrics.codes import identical_items
from sid_jax.metrics.ids import explained_by_prefix
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.losses import squared_error
from sid_jax.streams import stream_rng

# Maximum numbers of items per call: of items that are decoded, and of items whose neighbors are searched.
_DECODED_A_CALL = 8192
_ASKED_A_CALL = 1024
_KMEANS_ITERATIONS = 10
# Maximum number of items on which the report measures R^2 of codes and of residual k-means. Larger catalogs are sampled
# at random.
_MOST_ITEMS = 10_000

# `jit` compiles the method as one program. Without it, JAX would compile each operation separately.
_compare = jax.jit(RQVAE.compared)


def report_figures(model: RQVAE, codes: np.ndarray, vectors: np.ndarray) -> dict[str, Any]:
    """Returns the report's metrics of vectors: R^2 of reconstructions from codes `[N, L]`, and identical vectors."""
    rows = np.arange(len(vectors))
    if len(rows) > _MOST_ITEMS:
        rows = np.sort(stream_rng(0, "report/fidelity").choice(len(vectors), _MOST_ITEMS, replace=False))
    sample, sizes = take_rows(vectors, rows), model.quantizer.codebook_sizes
    inputs = figure_inputs(model, sample)
    fidelity = {
        "num_items": len(rows),
        "r2": [each["r2"] for each in fidelity_by_depth(model, codes[rows].astype(np.int32), sample)],
        "kmeans_r2": kmeans_r2(inputs, sizes),
        "random_r2": random_r2(len(rows), sizes),
        "between_prefixes": explained_by_prefix(codes[rows], inputs),
    }
    return {"fidelity": fidelity, "identical": identical_items(vectors)}


def fidelity_by_depth(model: RQVAE, codes: np.ndarray, vectors: np.ndarray) -> list[dict[str, float]]:
    """Returns "r2", "mse" and "cosine" of the reconstructions of vectors `[N, D]` from the first d codes, d = 1 to L.

    Vectors are float32 and unscaled. Codes are `[N, L]`, and are decoded with the model's codebooks and decoder.
    """
    spread = float(spread_by_part(vectors, model.scaling).sum()) or 1.0
    sums = sum(np.asarray(_fidelity(model, *block), np.float64).sum(axis=-1) for block in _decoded(vectors, codes))
    return [
        {"r2": 1 - error / spread, "mse": error / vectors.size, "cosine": cosine / len(vectors)}
        for error, cosine in sums.tolist()
    ]


def fidelity_by_part(model: RQVAE, codes: np.ndarray, vectors: np.ndarray) -> dict[str, float]:
    """Returns, for each part of vectors `[N, D]` with parts, the R^2 of the reconstructions from codes `[N, L]`."""
    assert model.layout is not None
    inputs, reconstructions = _compared(model, vectors, codes)
    errors = np.square(inputs - reconstructions, dtype=np.float64).sum(axis=0)
    return r2_by_part(model.layout, model.layout.sums_by_part(errors), spread_by_part(vectors, model.scaling))


def figure_inputs(model: RQVAE, vectors: np.ndarray) -> np.ndarray:
    """Returns vectors `[N, D]` float32, scaled for comparison with reconstructions; parts that an item lacks are 0."""
    if model.layout is None:
        return np.asarray(normalize(jnp.asarray(vectors), model.unit_norm))
    return np.asarray(apply_scaling(model.scaling, vectors))


def _compared(model: RQVAE, vectors: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    blocks = [slice(first, first + _DECODED_A_CALL) for first in range(0, len(codes), _DECODED_A_CALL)]
    pairs = [_compare(model, jnp.asarray(vectors[each]), jnp.asarray(codes[each])) for each in blocks]
    inputs, reconstructions = (np.concatenate([np.asarray(each) for each in side]) for side in zip(*pairs, strict=True))
    return inputs, reconstructions


def _decoded(vectors: np.ndarray, codes: np.ndarray) -> Iterator[tuple[jax.Array, ...]]:
    """Yields blocks of equal size: vectors, codes, and a mask that is False for padding rows of the last block."""
    size = -(-len(codes) // -(-len(codes) // _DECODED_A_CALL))
    for first in range(0, len(codes), size):
        rows = np.arange(first, first + size)
        counted, rows = rows < len(codes), np.minimum(rows, len(codes) - 1)
        yield jnp.asarray(vectors[rows]), jnp.asarray(codes[rows]), jnp.asarray(counted)


@jax.jit
def _fidelity(model: RQVAE, vectors: jax.Array, codes: jax.Array, counted: jax.Array) -> jax.Array:
    """Returns the squared errors and the cosines `[L, 2, B]` of reconstructions from the first 1 to L codes.

    The values of items for which `counted` `[B]` is False are 0.
    """

    def of_depth(depth: int) -> jax.Array:
        inputs, reconstructions = model.compared(vectors, codes[:, :depth])
        norms = jnp.linalg.norm(inputs, axis=-1) * jnp.linalg.norm(reconstructions, axis=-1)
        cosines = jnp.sum(inputs * reconstructions, axis=-1) / jnp.maximum(norms, 1e-12)
        return jnp.where(counted, jnp.stack([squared_error(inputs, reconstructions), cosines]), 0.0)

    return jnp.stack([of_depth(depth) for depth in range(1, codes.shape[1] + 1)])


def r2_of_moments(moments: np.ndarray) -> dict[str, float]:
    """Returns R^2, the mean squared error per feature, and the number of items, from moments.

    Args:
      moments: `[D + 3]`, sums over all decoded items: their number, squared errors, squared distances to a fixed
        vector, and differences from that vector.
    """
    count, error, away, *sums = moments.tolist()
    spread = away - float(np.square(sums).sum()) / count
    return {
        "r2_sampled": 1 - error / spread if spread > 0 else 0.0,
        "mse_sampled": error / count / len(sums),
        "num_sampled": int(count),
    }


def spread_by_part(vectors: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Returns, for each part, the sum of the squared distances of the vectors of `figure_inputs` to their mean.

    The result is `[P]`, each value summed over the items that have the part; `[1]` for vectors without parts.
    """
    mean, variance, counts = moments(vectors, scaling.unit_norm, scaling.layout)
    # The computed variance of a constant feature is a rounding error instead of 0. Such small variances are set to 0.
    variance = np.where(variance <= np.finfo(np.float32).eps ** 2 * (variance + mean**2), 0.0, variance)
    if scaling.layout is None:
        return np.array([variance.sum() * len(vectors)])
    return scaling.layout.sums_by_part(counts * variance / np.square(np.asarray(scaling.scale, np.float64)))


def r2_by_part(layout: Layout, errors: np.ndarray, spreads: np.ndarray) -> dict[str, float]:
    """Returns R^2 by part from squared errors `[P]` and `spread_by_part`, `[P]`; 0 for a part without items."""
    return {
        name: 1 - error / spread if spread > 0 else 0.0
        for name, error, spread in zip(layout.names, errors.tolist(), spreads.tolist(), strict=True)
    }


def kmeans_r2(inputs: np.ndarray, sizes: Sequence[int]) -> list[float]:
    """Returns, for each depth d = 1 to L, the R^2 of residual k-means of the inputs `[N, D]` with d levels.

    Level 1 is k-means of the inputs. Each further level is k-means of the residuals of the level before it. The
    codebooks are initialized with random items, and fitted to the same inputs in 10 iterations.
    """
    residual = inputs - inputs.mean(axis=0)
    spread = float(np.square(residual, dtype=np.float64).sum()) or 1.0
    found = []
    for level, size in enumerate(sizes):
        rng = stream_rng(0, f"yardstick/{level}")
        with warnings.catch_warnings():
            # SciPy warns about clusters without items; empty clusters are acceptable in a baseline.
            warnings.simplefilter("ignore", UserWarning)
            centroids, _ = scipy.cluster.vq.kmeans2(
                residual, min(size, len(residual)), _KMEANS_ITERATIONS, minit="points", rng=rng
            )
        residual = residual - centroids[scipy.cluster.vq.vq(residual, centroids)[0]]
        found.append(1 - float(np.square(residual, dtype=np.float64).sum()) / spread)
    return found


def random_r2(num_items: int, sizes: Sequence[int]) -> list[float]:
    """Returns, for each depth d = 1 to L, the expected R^2 of the first d codes if all codes are random.

    Each codeword is the mean of the level's inputs that have its code. The means of K random groups of N items explain
    (K - 1) / (N - 1) of the variance in expectation. Each level explains this share of the variance that remains after
    the earlier levels.
    """
    left, found = 1.0, []
    for size in sizes:
        left *= 1 - min(1.0, (size - 1) / max(num_items - 1, 1))
        found.append(1 - left)
    return found


def nearest_items(vectors: np.ndarray, asked: np.ndarray, count: int) -> np.ndarray:
    """Returns the nearest neighbors of items by cosine, without the items themselves: rows `[M, count]` int32.

    Args:
      vectors: `[N, D]` float32.
      asked: `[M]`, rows of the items whose neighbors are returned.
      count: number of neighbors, at most N - 1; nearest first.
    """
    directions = jnp.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
    found = []
    for first in range(0, len(asked), _ASKED_A_CALL):
        rows = asked[first : first + _ASKED_A_CALL]
        padded = np.pad(rows, (0, min(_ASKED_A_CALL, len(asked)) - len(rows)), mode="edge")
        found.append(np.asarray(_nearest(directions, jnp.asarray(padded), count))[: len(rows)])
    return np.concatenate(found)


@functools.partial(jax.jit, static_argnames="count")
def _nearest(directions: jax.Array, rows: jax.Array, count: int) -> jax.Array:
    cosines = directions[rows] @ directions.T
    itself = jax.nn.one_hot(rows, directions.shape[0], dtype=bool)
    return jax.lax.top_k(jnp.where(itself, -jnp.inf, cosines), count)[1]
