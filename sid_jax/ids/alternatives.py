"""Finds alternative code tuples for an item, and the reconstruction error of each tuple."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.ids.relocate import Full, Rows, Search
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.beam import beam_codes, completed_codes
from sid_jax.quantize.losses import squared_error
from sid_jax.quantize.nearest import assign_codes, sum_codewords

# Maximum numbers per call: decoded tuples, encoded vectors, prefixes, and tuples that complete prefixes. They limit the
# memory of intermediate arrays for any number of codes.
_TUPLES_A_CALL = 2**12
_VECTORS_A_CALL = 2**11
_PREFIXES_A_CALL, _COMPLETED_A_CALL = 2**14, 2**22


class CodeAlternatives:
    """Finds tuples by beam search in the latent space. Implements `sid_jax.ids.relocate.Alternatives`.

    The cost of a tuple is the squared distance between an item's input vector and its reconstruction from the tuple,
    see `RQVAE.compared`. The approximate cost is the squared distance between the item's latent vector and the sum of
    the tuple's codewords. `vectors` are `[N, D]` float32, unscaled.
    """

    def __init__(self, model: RQVAE, vectors: Rows):
        self._model, self._vectors = model, vectors
        # An item may take part in several rounds of a search, so its latent vector is kept after the first one.
        latent_dimension = model.quantizer.codebooks[0].shape[1]
        self._latents = np.empty((len(vectors), latent_dimension), np.float32)
        self._encoded = np.zeros(len(vectors), bool)

    def tuples(
        self, rows: np.ndarray, own: np.ndarray, first_codes: np.ndarray, search: Search, full: Full
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the nearest free tuples under each item's given first code, with approximate costs.

        Among all tuples of the nearest prefixes, only free tuples are compared; see `Alternatives`.
        """
        model, sizes = self._model, self._model.quantizer.codebook_sizes
        if len(sizes) == 1:
            # With a single level, the first code is the whole tuple, which therefore has no alternatives.
            return first_codes[:, None, None], np.full((len(rows), 1), np.inf, np.float32), np.zeros(len(rows))
        size = min(_PREFIXES_A_CALL, _COMPLETED_A_CALL // sizes[-1]) // search.prefixes

        def prefixes_of(*given: np.ndarray) -> tuple[jax.Array, ...]:
            return _nearest_prefixes(model, *map(jax.device_put, given), search.prefixes)

        def tuples_of(*near: np.ndarray) -> tuple[jax.Array, ...]:
            return _nearest_free(model, *map(jax.device_put, (*near, full(near[1]))), search.tuples)

        latents = self._latents_of(rows)
        *near, own_costs = _in_parts(prefixes_of, size, latents, own, first_codes)
        tuples, costs = _in_parts(tuples_of, size, latents, *near)
        return tuples, costs, own_costs

    def _latents_of(self, rows: np.ndarray) -> np.ndarray:
        new = rows[~self._encoded[rows]]
        if len(new):
            encoded = _in_parts(lambda rows: (_encode(self._model, self._on_device(rows)),), _VECTORS_A_CALL, new)
            self._latents[new], self._encoded[new] = encoded[0], True
        return self._latents[rows]

    def costs(self, rows: np.ndarray, tuples: np.ndarray) -> np.ndarray:
        """Returns the squared reconstruction errors of tuples."""

        def errors_of(rows: np.ndarray, tuples: np.ndarray) -> tuple[jax.Array]:
            return (_errors(self._model, self._on_device(rows), jax.device_put(tuples)),)

        return _in_parts(errors_of, _TUPLES_A_CALL // tuples.shape[1], rows, tuples)[0]

    def first_codes(self, rows: np.ndarray) -> np.ndarray:
        """Returns each latent vector's squared error for each first code, if the later codes are chosen greedily."""

        def errors_of(rows: np.ndarray) -> tuple[jax.Array]:
            return (_compare_first_codes(self._model, self._on_device(rows)),)

        return _in_parts(errors_of, _TUPLES_A_CALL // self._model.quantizer.codebook_sizes[0], rows)[0]

    def _on_device(self, rows: np.ndarray) -> jax.Array:
        # `jnp.asarray` would compile a conversion for each shape.
        return jax.device_put(self._vectors[rows])


def _in_parts(function: Callable[..., tuple[jax.Array, ...]], size: int, *arrays: np.ndarray) -> list[np.ndarray]:
    """Calls a function on at most `size` rows of arrays at a time, and concatenates the results."""
    size = max(1, size)
    parts: list[list[np.ndarray]] = []
    waiting: collections.deque[tuple[int, tuple[jax.Array, ...]]] = collections.deque()

    def finish() -> None:
        count, found = waiting.popleft()
        parts.append([np.asarray(part)[:count] for part in found])

    first = 0
    while first < len(arrays[0]):
        # There are two batch sizes, so that only two programs are compiled. The last rows use the smaller size, with
        # padding.
        step = size if len(arrays[0]) - first >= size else max(1, size // 8)
        chosen = [each[first : first + step] for each in arrays]
        missing = step - len(chosen[0])
        padded = [np.pad(each, [(0, missing), *[(0, 0)] * (each.ndim - 1)], mode="edge") for each in chosen]
        waiting.append((step - missing, function(*padded)))
        first += step
        # The next call's inputs are prepared while the device computes this call.
        if len(waiting) > 1:
            finish()
    while waiting:
        finish()
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


@jax.jit
def _encode(model: RQVAE, vectors: jax.Array) -> jax.Array:
    return model.encode(vectors)


@functools.partial(jax.jit, static_argnames="width")
def _nearest_prefixes(
    model: RQVAE, latents: jax.Array, own: jax.Array, first_codes: jax.Array, width: int
) -> tuple[jax.Array, ...]:
    """Returns prefixes under the first codes, their squared distances to the latents, and the own tuples' costs."""
    first, *others = model.quantizer.codebooks
    own_costs = squared_error(latents, model.quantizer.lookup(own))
    rest, distances = beam_codes(latents - first[first_codes], others[:-1], width)
    leading = jnp.broadcast_to(first_codes[:, None, None], (*rest.shape[:2], 1))
    return jnp.concatenate([leading, rest], axis=-1), distances, own_costs


@functools.partial(jax.jit, static_argnames="count")
def _nearest_free(
    model: RQVAE, latents: jax.Array, prefixes: jax.Array, distances: jax.Array, full: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    return completed_codes(latents, model.quantizer.codebooks, prefixes, distances, full, count)


@jax.jit
def _errors(model: RQVAE, vectors: jax.Array, tuples: jax.Array) -> jax.Array:
    return squared_error(*model.compared(vectors[:, None], tuples))


@jax.jit
def _compare_first_codes(model: RQVAE, vectors: jax.Array) -> jax.Array:
    first, *others = model.quantizer.codebooks
    residuals = model.encode(vectors)[:, None] - first[None]
    if others:
        residuals = residuals - sum_codewords(assign_codes(residuals, others), others)
    return jnp.sum(jnp.square(residuals), axis=-1)
