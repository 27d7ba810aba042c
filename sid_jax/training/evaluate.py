"""Measuring a state over the whole corpus: codes, reconstruction, and training codes against exported ones."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sid_jax.data.blocks import forget_pages
from sid_jax.data.scaling import moments, normalize
from sid_jax.metrics.codes import code_figures
from sid_jax.quantize.losses import squared_error
from sid_jax.quantize.nearest import code_margins
from sid_jax.training.recipe import Recipe
from sid_jax.training.sharding import share_out
from sid_jax.training.state import TrainState

# Items measured at a time: what they need is to stay in a CPU's cache.
_ITEMS_A_CALL = 2048

# A hundred times float32's rounding: what a hidden layer or two make of it.
_NEAR_TIE = 1e-5


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What the whole corpus looks like under one state.

    Attributes:
      codes: `[N, L]`, as export gives them, of the smallest unsigned type.
      metrics: plain numbers and lists: `num_items`, `codebook_size`, those of `sid_jax.metrics.codes.code_figures`, and
        r2: 1 - squared error / squared distance to the corpus' mean, both summed over items and features, in the space
          of the (unit-norm) input;
        mse: the squared error, a feature's mean;
        cosine: the mean cosine between an input and its reconstruction;
        near_ties: the share of the items of which some code wins by less than 1e-5 of the residual's squared norm, so
          that rounding might choose another;
        agreement: the share of the items to which the last training step's pass, with its noise, gives these codes.
    """

    codes: np.ndarray
    metrics: dict[str, Any]


def evaluate(recipe: Recipe, state: TrainState, vectors: np.ndarray, most: float, mesh: Mesh) -> Evaluation:
    """Measures a state on every item of the corpus `[N, D]` float32, as it came; no item is dropped.

    The devices share the items, and each process gets the figures of all. `most` is `max_distinct_rate` of the vectors.
    """
    measure = functools.partial(_measure, recipe.at(int(state.step) - 1), state, mesh=mesh)
    sizes = [taken.shape[0] for taken in state.taken]
    codes = np.empty((len(vectors), len(sizes)), np.min_scalar_type(max(sizes) - 1))
    sums: np.ndarray = np.zeros(4)
    for start, (block_codes, *figures) in _in_blocks(measure, mesh, vectors):
        codes[start : start + len(block_codes)] = block_codes
        # Only codes are kept of each item: memory is to be flat in N.
        sums += [figure.sum(dtype=np.float64) for figure in figures]
    error, cosine, near_ties, agreement = sums.tolist()
    metrics = {
        "num_items": len(vectors),
        "codebook_size": sizes,
        **code_figures(codes, sizes, most),
        "r2": 1 - error / _spread(vectors, recipe.unit_norm),
        "mse": error / vectors.size,
        "cosine": cosine / len(vectors),
        "near_ties": near_ties / len(vectors),
        "agreement": agreement / len(vectors),
    }
    return Evaluation(codes, metrics)


def _in_blocks(
    measure: Callable[..., tuple[jax.Array, ...]], mesh: Mesh, *arrays: np.ndarray
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Yields what `measure` makes of arrays `[N, ...]`, given to it block by block, each shared out over the devices.

    With each block comes the number of its first item. The last one is padded with its last item, so that one compiled
    program does for all.
    """
    num_items = len(arrays[0])
    size = -(-min(_ITEMS_A_CALL, num_items) // mesh.size) * mesh.size
    for start in range(0, num_items, size):
        rows = np.minimum(np.arange(start, start + size), num_items - 1)
        block = [_share_out_rows(array, rows, mesh) for array in arrays]
        yield start, [np.asarray(part)[: num_items - start] for part in measure(*block)]
        for array in arrays:
            forget_pages(array)


def _share_out_rows(array: np.ndarray, rows: np.ndarray, mesh: Mesh) -> jax.Array:
    return share_out((len(rows), *array.shape[1:]), mesh, lambda index: array[rows[index[0]]])


@functools.partial(jax.jit, static_argnames=("recipe", "mesh"))
def _measure(recipe: Recipe, state: TrainState, vectors: jax.Array, *, mesh: Mesh) -> tuple[jax.Array, ...]:
    model = recipe.model(state)
    codes = model.assign(vectors)
    inputs = normalize(vectors, model.unit_norm)
    reconstructions = model.reconstruct(codes)
    norms = jnp.linalg.norm(inputs, axis=-1) * jnp.linalg.norm(reconstructions, axis=-1)
    cosines = jnp.sum(inputs * reconstructions, axis=-1) / jnp.maximum(norms, 1e-12)
    last_step = jnp.maximum(state.step - 1, 0)
    as_in_training = recipe.forward(state.params, state.statistics, vectors, last_step)
    margins = code_margins(model.encode(vectors), model.quantizer.codebooks)
    near_ties = jnp.min(margins, axis=-1) < _NEAR_TIE
    agreement = jnp.all(codes == as_in_training.quantizer.codes, axis=-1)
    figures = codes, squared_error(inputs, reconstructions), cosines, near_ties, agreement
    return jax.lax.with_sharding_constraint(figures, NamedSharding(mesh, PartitionSpec()))


def r2_of_codes(recipe: Recipe, state: TrainState, vectors: np.ndarray, codes: np.ndarray, mesh: Mesh) -> float:
    """Returns R^2, as `evaluate` does, of what codes `[N, L]` stand for against the vectors `[N, D]`."""
    blocks = _in_blocks(functools.partial(_errors, recipe, state, mesh=mesh), mesh, vectors, codes)
    error = sum(float(errors.sum(dtype=np.float64)) for _, (errors,) in blocks)
    return 1 - error / _spread(vectors, recipe.unit_norm)


@functools.partial(jax.jit, static_argnames=("recipe", "mesh"))
def _errors(recipe: Recipe, state: TrainState, vectors: jax.Array, codes: jax.Array, *, mesh: Mesh) -> tuple[jax.Array]:
    model = recipe.model(state)
    errors = squared_error(normalize(vectors, model.unit_norm), model.reconstruct(codes))
    return (jax.lax.with_sharding_constraint(errors, NamedSharding(mesh, PartitionSpec())),)


def _spread(vectors: np.ndarray, unit_norm: bool) -> float:
    """Returns the squared distance to the mean, summed over the corpus; never 0, so that equal items divide well."""
    mean, variance = moments(vectors, unit_norm)
    # What does not vary comes out of the sums as a rounding error rather than 0.
    variance = np.where(variance <= np.finfo(np.float32).eps ** 2 * (variance + mean**2), 0.0, variance)
    return float(variance.sum()) * len(vectors) or 1.0
