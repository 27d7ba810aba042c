"""Evaluates a training state on all items: codes, reconstruction, and agreement of codes in training and in export."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sid_jax.data.blocks import forget_pages, take_rows
from sid_jax.metrics.codes import code_figures
from sid_jax.metrics.vectors import r2_by_part, spread_by_part
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.losses import squared_error
from sid_jax.quantize.nearest import code_margins
from sid_jax.streams import stream_rng
from sid_jax.training.recipe import Recipe
from sid_jax.training.sharding import share_out
from sid_jax.training.state import TrainState

# Maximum number of items over which a training run computes the metrics that need more than codes. With this number,
# the standard error of R^2 is below .001.
_MEASURED_ITEMS = 65_536
# Number of items per call: intermediate arrays must fit into a CPU's cache.
_ITEMS_A_CALL = 2048

# A residual is a near-tie if the margin of its code (see `code_margins`) is below this value. Rounding errors
# after one or two hidden layers are about a hundred times the epsilon of float32.
NEAR_TIE = 1e-5


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Codes and metrics of all items under one training state.

    Attributes:
      codes: `[N, L]`, the codes that export assigns, in the smallest unsigned dtype.
      metrics: values by name. `num_items`, `codebook_size`, and the metrics of `sid_jax.metrics.codes.code_figures` are
        over all items. The metrics listed below may be computed over a sample; `num_measured` is then the number of
        items of the sample.
        r2: 1 - squared error / squared distance to the mean, both summed over the same items and all features, in the
          space of `RQVAE.compared`;
        mse: the mean squared error per feature;
        cosine: the mean cosine between an input and its reconstruction;
        near_ties: the share of items with a code whose margin (see `code_margins`) is below 1e-5, so that rounding
          might change the code;
        r2_by_part: for vectors with parts, r2 of each part by its name, over the items that have the part;
        agreement: the share of items whose `codes` equal those of a training forward pass with the noise of the last
          step.
      errors: each item's squared error in `r2`, summed over all features, `[N]` float32. With a sample, the array has
        only the items of the sample.
      spread: the denominator of `r2`: the squared distance to the mean, summed over the items of `errors` and all
        features.
    """

    codes: np.ndarray
    metrics: dict[str, Any]
    errors: np.ndarray
    spread: float


def evaluate(
    recipe: Recipe,
    state: TrainState,
    vectors: np.ndarray,
    most: float,
    mesh: Mesh,
    sample: np.ndarray | None = None,
) -> Evaluation:
    """Evaluates a training state on all N items; `vectors` are their unscaled vectors, `[N, D]` float32.

    Items are sharded over the devices, and every process gets the metrics of all items. `most` is the
    `max_distinct_rate` of the vectors. Metrics that need more than codes are computed over the items whose row numbers
    are in `sample` (see `measured_rows`). If `sample` is None, they are computed over all items.
    """
    recipe = recipe.at(int(state.step) - 1)
    sizes = [taken.shape[0] for taken in state.taken]
    codes = np.empty((len(vectors), len(sizes)), np.min_scalar_type(max(sizes) - 1))
    if sample is not None:
        for start, (block_codes,) in _in_blocks(functools.partial(_assign, recipe, state, mesh=mesh), mesh, vectors):
            codes[start : start + len(block_codes)] = block_codes
    measured = vectors if sample is None else take_rows(vectors, sample)
    sums: np.ndarray = np.zeros(3)
    errors: np.ndarray = np.zeros(1)
    errors_of_items = np.empty(len(measured), np.float32)
    measure = functools.partial(_measure, recipe, state, mesh=mesh)
    for start, (block_codes, block_errors, *figures) in _in_blocks(measure, mesh, measured):
        if sample is None:
            codes[start : start + len(block_codes)] = block_codes
        errors_of_items[start : start + len(block_codes)] = block_errors.sum(axis=1)
        # Errors of parts are summed block by block, so that memory hardly grows with N.
        errors = errors + block_errors.sum(axis=0, dtype=np.float64)
        sums += [figure.sum(dtype=np.float64) for figure in figures]
    error, (cosine, near_ties, agreement) = float(errors.sum()), sums.tolist()
    spreads = spread_by_part(measured, recipe.model(state).scaling)
    metrics = {
        "num_items": len(vectors),
        **({} if sample is None else {"num_measured": len(sample)}),
        "codebook_size": sizes,
        **code_figures(codes, sizes, most),
        "r2": 1 - error / (float(spreads.sum()) or 1.0),
        **({} if recipe.layout is None else {"r2_by_part": r2_by_part(recipe.layout, errors, spreads)}),
        "mse": error / measured.size,
        "cosine": cosine / len(measured),
        "near_ties": near_ties / len(measured),
        "agreement": agreement / len(measured),
    }
    return Evaluation(codes, metrics, errors_of_items, float(spreads.sum()))


def measured_rows(num_items: int, seed: int) -> np.ndarray | None:
    """Returns the sorted row numbers of a random sample of 65,536 items; None if there are at most 65,536 items."""
    if num_items <= _MEASURED_ITEMS:
        return None
    return np.sort(stream_rng(seed, "evaluation").choice(num_items, _MEASURED_ITEMS, replace=False))


def _in_blocks(
    measure: Callable[..., tuple[jax.Array, ...]], mesh: Mesh, *arrays: np.ndarray, size: int | None = None
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Applies `measure` to blocks of arrays `[N, ...]`; yields each block's first row number and the results.

    Blocks are sharded over the devices. A block has `size` rows, rounded up to a multiple of the number of devices. If
    `size` is None, it is 2048, or N if N is smaller. The last block is padded by repeating its last item, so that all
    blocks use the same compiled program.
    """
    num_items = len(arrays[0])
    size = -(-(size or min(_ITEMS_A_CALL, num_items)) // mesh.size) * mesh.size
    for start in range(0, num_items, size):
        rows = np.minimum(np.arange(start, start + size), num_items - 1)
        block = [_share_out_rows(array, rows, mesh) for array in arrays]
        yield start, [np.asarray(part)[: num_items - start] for part in measure(*block)]
        for array in arrays:
            forget_pages(array)


def _share_out_rows(array: np.ndarray, rows: np.ndarray, mesh: Mesh) -> jax.Array:
    return share_out((len(rows), *array.shape[1:]), mesh, lambda index: array[rows[index[0]]])


@functools.partial(jax.jit, static_argnames=("recipe", "mesh"))
def _assign(recipe: Recipe, state: TrainState, vectors: jax.Array, *, mesh: Mesh) -> tuple[jax.Array]:
    codes = recipe.model(state).assign(vectors)
    return (jax.lax.with_sharding_constraint(codes, NamedSharding(mesh, PartitionSpec())),)


@functools.partial(jax.jit, static_argnames=("recipe", "mesh"))
def _measure(recipe: Recipe, state: TrainState, vectors: jax.Array, *, mesh: Mesh) -> tuple[jax.Array, ...]:
    model = recipe.model(state)
    codes = model.assign(vectors)
    inputs, reconstructions = model.compared(vectors, codes)
    norms = jnp.linalg.norm(inputs, axis=-1) * jnp.linalg.norm(reconstructions, axis=-1)
    cosines = jnp.sum(inputs * reconstructions, axis=-1) / jnp.maximum(norms, 1e-12)
    last_step = jnp.maximum(state.step - 1, 0)
    as_in_training = recipe.forward(state.params, state.statistics, vectors, last_step)
    margins = code_margins(model.encode(vectors), model.quantizer.codebooks)
    near_ties = jnp.min(margins, axis=-1) < NEAR_TIE
    agreement = jnp.all(codes == as_in_training.quantizer.codes, axis=-1)
    figures = codes, _errors_by_part(model, inputs, reconstructions), cosines, near_ties, agreement
    return jax.lax.with_sharding_constraint(figures, NamedSharding(mesh, PartitionSpec()))


def r2_of_codes(recipe: Recipe, state: TrainState, vectors: np.ndarray, codes: np.ndarray, mesh: Mesh) -> float:
    """Returns R^2, as in `evaluate`, of the reconstructions of vectors `[N, D]` from codes `[N, L]`."""
    error = _error_of_codes(recipe, state, vectors, codes, mesh)
    return 1 - error / (float(spread_by_part(vectors, recipe.model(state).scaling).sum()) or 1.0)


def r2_of_other_codes(
    recipe: Recipe, state: TrainState, vectors: np.ndarray, codes: np.ndarray, evaluation: Evaluation, mesh: Mesh
) -> float:
    """Returns the R^2 of codes `[N, L]`, some of which differ from the codes of an evaluation of all items.

    Only the items whose codes differ are decoded. Their number differs from run to run, but the number of items per
    call does not, so that the compiled program is found in the cache.
    """
    rows = np.flatnonzero((codes != evaluation.codes).any(axis=1))
    if not len(rows):
        return evaluation.metrics["r2"]
    size = min(_ITEMS_A_CALL, len(vectors))
    new = _error_of_codes(recipe, state, take_rows(vectors, rows), codes[rows], mesh, size)
    old = float(evaluation.errors[rows].sum(dtype=np.float64))
    return evaluation.metrics["r2"] - (new - old) / (evaluation.spread or 1.0)


def _error_of_codes(
    recipe: Recipe,
    state: TrainState,
    vectors: np.ndarray,
    codes: np.ndarray,
    mesh: Mesh,
    size: int | None = None,
) -> float:
    """Returns the sum of the squared errors of the reconstructions of vectors `[N, D]` from codes `[N, L]`.

    For `size`, see `_in_blocks`.
    """
    blocks = _in_blocks(functools.partial(_errors, recipe, state, mesh=mesh), mesh, vectors, codes, size=size)
    return sum(float(errors.sum(dtype=np.float64)) for _, (errors,) in blocks)


@functools.partial(jax.jit, static_argnames=("recipe", "mesh"))
def _errors(recipe: Recipe, state: TrainState, vectors: jax.Array, codes: jax.Array, *, mesh: Mesh) -> tuple[jax.Array]:
    errors = squared_error(*recipe.model(state).compared(vectors, codes))
    return (jax.lax.with_sharding_constraint(errors, NamedSharding(mesh, PartitionSpec())),)


def _errors_by_part(model: RQVAE, inputs: jax.Array, reconstructions: jax.Array) -> jax.Array:
    """Returns squared errors summed over the features of each part, `[B, P]`; `[B, 1]` for vectors without parts."""
    slices = [slice(None)] if model.layout is None else model.layout.slices
    return jnp.stack([squared_error(inputs[:, each], reconstructions[:, each]) for each in slices], axis=-1)
