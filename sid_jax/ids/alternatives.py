"""Finds alternative code tuples for an item, and the reconstruction error of each tuple."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.ids.relocate import Rows
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.beam import beam_codes
from sid_jax.quantize.losses import squared_error
from sid_jax.quantize.nearest import assign_codes, sum_codewords

# Number of tuples per call, which limits the memory of the activations.
_TUPLES_A_CALL = 2**12


class CodeAlternatives:
    """Finds tuples by beam search in the latent space. Implements `sid_jax.ids.relocate.Alternatives`.

    The cost of a tuple is the squared distance between an item's input vector and its reconstruction from the tuple,
    see `RQVAE.compared`. The approximate cost is the squared distance between the item's latent vector and the sum of
    the tuple's codewords. `vectors` are `[N, D]` float32, unscaled.
    """

    def __init__(self, model: RQVAE, vectors: Rows):
        self._model, self._vectors = model, vectors

    def tuples(
        self, rows: np.ndarray, own: np.ndarray, first_codes: np.ndarray, width: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the nearest tuples under each item's given first code, with approximate costs; see `Alternatives`."""

        def search(vectors: jax.Array, own: jax.Array, first_codes: jax.Array) -> tuple[jax.Array, ...]:
            return _search(self._model, vectors, own, first_codes, width)

        tuples, costs, own_costs = self._in_parts(search, _TUPLES_A_CALL * 4 // width, rows, own, first_codes)
        return tuples, costs, own_costs

    def costs(self, rows: np.ndarray, tuples: np.ndarray) -> np.ndarray:
        """Returns the squared reconstruction errors of tuples."""
        size = _TUPLES_A_CALL // tuples.shape[1]
        return self._in_parts(lambda *given: (_errors(self._model, *given),), size, rows, tuples)[0]

    def first_codes(self, rows: np.ndarray) -> np.ndarray:
        """Returns each latent vector's squared error for each first code, if the later codes are chosen greedily."""
        size = _TUPLES_A_CALL // self._model.quantizer.codebook_sizes[0]
        return self._in_parts(lambda vectors: (_compare_first_codes(self._model, vectors),), size, rows)[0]

    def _in_parts(
        self, function: Callable[..., tuple[jax.Array, ...]], size: int, rows: np.ndarray, *arrays: np.ndarray
    ) -> list[np.ndarray]:
        """Calls a function on the vectors of at most `size` rows at a time, and concatenates the results."""
        size = max(1, size)
        parts: list[list[np.ndarray]] = []
        waiting: collections.deque[tuple[int, tuple[jax.Array, ...]]] = collections.deque()

        def finish() -> None:
            count, found = waiting.popleft()
            parts.append([np.asarray(part)[:count] for part in found])

        first = 0
        while first < len(rows):
            # There are two batch sizes, so that only two programs are compiled. The last rows use the smaller size,
            # with padding.
            step = size if len(rows) - first >= size else max(1, size // 8)
            chosen = [each[first : first + step] for each in (rows, *arrays)]
            missing = step - len(chosen[0])
            padded = [np.pad(each, [(0, missing), *[(0, 0)] * (each.ndim - 1)], mode="edge") for each in chosen]
            # `jnp.asarray` would compile a conversion for each shape.
            found = function(jax.device_put(self._vectors[padded[0]]), *map(jax.device_put, padded[1:]))
            waiting.append((step - missing, found))
            first += step
            # The next call's vectors are read while the device computes this call.
            if len(waiting) > 1:
                finish()
        while waiting:
            finish()
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


@functools.partial(jax.jit, static_argnames="width")
def _search(
    model: RQVAE, vectors: jax.Array, own: jax.Array, first_codes: jax.Array, width: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    first, *others = model.quantizer.codebooks
    latents = model.encode(vectors)
    own_costs = squared_error(latents, model.quantizer.lookup(own))
    residuals = latents - first[first_codes]
    if not others:
        return first_codes[:, None, None], jnp.sum(jnp.square(residuals), axis=-1)[:, None], own_costs
    rest, costs = beam_codes(residuals, others, width)
    leading = jnp.broadcast_to(first_codes[:, None, None], (*rest.shape[:2], 1))
    return jnp.concatenate([leading, rest], axis=-1), costs, own_costs


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
