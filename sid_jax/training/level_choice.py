"""Chooses the number of levels if `model.num_levels` is "auto" and the catalog is large."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sid_jax.config import default_config
from sid_jax.data.blocks import take_rows
from sid_jax.data.scaling import Scaling, apply_scaling, fit_scaling
from sid_jax.data.vector_set import VectorSet
from sid_jax.messages import Messages
from sid_jax.quantize.kmeans import assign_in_blocks, kmeans
from sid_jax.settings import AUTO
from sid_jax.streams import stream_rng
from sid_jax.training.processes import gather_texts
from sid_jax.training.sizes import FEWEST_LEVELS, catalog_size, with_sizes
from sid_jax.training.state import level_sizes
from sid_jax.training.workdir import has_run, read_run

# Maximum share of items whose code tuple another item shares, estimated with k-means. After training, the share is up
# to 1.8 times as large (docs/scale.md), and about two thirds of these items are relocated. With this limit, about a
# tenth of the items are relocated.
_MOST_COLLISIONS = 0.1
# An additional level must multiply the share by at most this factor. Otherwise, most of the remaining items have equal
# or nearly equal vectors, which no number of levels tells apart.
_WORTHWHILE = 0.75
# Numbers of items over which collisions are counted, and to which k-means is fitted.
_COUNTED_ITEMS, _FITTED_ITEMS = 2**18, 2**14
# k-means uses the vectors' coordinates along this number of principal axes. The axes are found by subspace iteration.
_AXES, _AXES_ITERATIONS = 64, 4
_KMEANS_ITERATIONS = 5
_ITEMS_A_CALL = 2**13


def with_levels(config: ConfigDict, data: VectorSet, workdir: Path | None, messages: Messages) -> ConfigDict:
    """Returns a config in which `model.num_levels` and `model.codebook_size` are not "auto", see `with_sizes`.

    If `with_sizes` gives a residual quantizer more than three levels, items are also encoded by residual k-means. A
    level is added as long as more than a tenth of the items share their code tuple with another item, and the level
    decreases this share by at least a quarter. The choice is printed with its reason. A resumed run keeps its number of
    levels. All processes use the choice of the first process.
    """
    chosen = with_sizes(config, len(data.ids))
    by_number, size = chosen.model.num_levels, config.model.codebook_size
    is_measured = by_number > FEWEST_LEVELS and config.model.quantizer == "residual"
    if config.model.num_levels != AUTO or isinstance(size, (tuple, list)) or not is_measured:
        return chosen
    if workdir and has_run(workdir):
        levels, why = read_run(workdir, default_config())[0].model.num_levels, "as at the start of this run"
    else:
        levels, why = _measured(chosen, data)
    number, why = gather_texts(f"{levels} {why}")[0].split(" ", 1)
    messages.line(f"model.num_levels=auto: {number} ({why})")
    chosen = chosen.copy_and_resolve_references()
    chosen.model.num_levels = int(number)
    return chosen


def _measured(config: ConfigDict, data: VectorSet) -> tuple[int, str]:
    """Returns the number of levels, and the reason for it."""
    shares: dict[int, float] = {}
    for level, share in enumerate(collision_shares(config, data), start=1):
        if level > config.model.num_levels and share > _WORTHWHILE * shares[level - 1]:
            break
        shares[level] = share
        if level >= config.model.num_levels and share <= _MOST_COLLISIONS:
            break
    first, *others = [
        f"{share:.0%} with {level}" for level, share in shares.items() if level >= config.model.num_levels
    ]
    counted = ", ".join([f"{first} levels", *others])
    return max(shares), f"estimated share of items that share their codes with other items: {counted}"


def collision_shares(config: ConfigDict, data: VectorSet) -> Iterator[float]:
    """Yields, for 1, 2, 3, ... levels of residual k-means, the share of items whose code tuple another item shares.

    With more than 262,144 items, or if the data are a sample of the catalog (`data.catalog_size`), the share is counted
    over a sample, and extrapolated by a power of the number of items. The exponent follows from the shares in the
    sample and in a quarter of it. The result is somewhat larger than the share of k-means over all items, since the
    exponent decreases as the share approaches 1.
    """
    rng, num_items = stream_rng(config.seed, "levels"), len(data.ids)
    in_catalog = catalog_size(config, num_items)
    rows = np.sort(rng.choice(num_items, min(num_items, _COUNTED_ITEMS), replace=False))
    fitted = np.sort(rng.choice(len(rows), min(len(rows), _FITTED_ITEMS), replace=False))
    points = _coordinates(config, data, rows, rows[fitted], rng)
    sample, keys = points[fitted], np.zeros(len(rows), np.int64)
    size = level_sizes(config.model)[0]
    while True:
        codebook = kmeans(sample, size, _KMEANS_ITERATIONS)
        (codes, points), (_, sample) = _quantize(points, codebook), _quantize(sample, codebook)
        # Numbering the tuples anew at each level keeps the keys small, for any number of levels.
        keys = np.unique(keys, return_inverse=True)[1] * size + np.asarray(codes)
        share, of_quarter = _share(keys), _share(keys[::4])
        exponent = math.log(share / of_quarter, 4) if of_quarter and len(rows) < in_catalog else 0.0
        yield min(1.0, share * (in_catalog / len(rows)) ** min(exponent, 1.0))


def _share(keys: np.ndarray) -> float:
    counts = np.unique(keys, return_counts=True)[1]
    return 1 - float((counts == 1).sum()) / len(keys)


def _coordinates(
    config: ConfigDict, data: VectorSet, rows: np.ndarray, fitted: np.ndarray, rng: np.random.Generator
) -> jax.Array:
    """Returns the scaled vectors of `rows`, `[n, D]`.

    If D is above 64, returns their coordinates along 64 principal axes of the rows `fitted`, `[n, 64]`.
    """
    how = {name: config.data[name] for name in ("unit_norm", "center", "standardize")}
    sample = take_rows(data.vectors, fitted)
    scaling = fit_scaling(sample, **how, layout=data.layout)
    axes = np.eye(sample.shape[1], dtype=np.float32)
    if len(axes) > _AXES:
        scaled = np.nan_to_num(np.asarray(apply_scaling(scaling, jnp.asarray(sample))))
        # Subspace iteration needs no D x D matrix, and works for vectors of any rank.
        axes = rng.normal(size=(len(axes), _AXES)).astype(np.float32)
        for _ in range(_AXES_ITERATIONS):
            axes = np.linalg.qr(scaled.T @ (scaled @ axes))[0]
    # All blocks have the same number of rows, so that a single program is compiled.
    starts = range(0, len(rows), _ITEMS_A_CALL)
    blocks = (rows[np.arange(start, start + _ITEMS_A_CALL).clip(max=len(rows) - 1)] for start in starts)
    parts = [np.asarray(_project(scaling, take_rows(data.vectors, block), axes)) for block in blocks]
    return jnp.asarray(np.concatenate(parts)[: len(rows)])


@jax.jit
def _project(scaling: Scaling, vectors: jax.Array, axes: jax.Array) -> jax.Array:
    # The features of parts that an item lacks are NaN.
    scaled = jnp.nan_to_num(apply_scaling(scaling, vectors))
    return jnp.matmul(scaled, axes, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _quantize(points: jax.Array, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
    codes = assign_in_blocks(points, codebook)
    return codes, points - codebook[codes]
