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
from sid_jax.quantize.nearest import Codebooks, assign_codes, sum_codewords

# Maximum numbers per call: decoded tuples, encoded vectors, prefixes, and tuples that complete prefixes. They limit the
# memory of intermediate arrays for any number of codes.
_TUPLES_A_CALL = 2**12
_VECTORS_A_CALL = 2**11
_PREFIXES_A_CALL, _COMPLETED_A_CALL = 2**14, 2**22


class CodeAlternatives:
    """Finds tuples by beam search in the latent space. Implements `sid_jax.ids.relocate.Alternatives`.

    The cost of a tuple is the squared distance between an item's input vector and its reconstruction from the tuple,
    see `RQVAE.compared`. The approximate cost is the squared distance between the item's latent vector and the sum of
    the tuple's codewords.

    Args:
      model: the model.
      latents: `[N, Z]` float32.
      vectors: `[N, D]` float32, unscaled. None if only approximate costs are needed.
    """

    def __init__(self, model: RQVAE, latents: Rows, vectors: Rows | None = None):
        self._model, self._latents, self._vectors = model, latents, vectors
        # The searches get the codebooks as plain arrays, since a module would be flattened in Python at each call.
        self._codebooks = model.quantizer.codebooks

    @classmethod
    def of_vectors(cls, model: RQVAE, vectors: Rows) -> CodeAlternatives:
        """Returns the alternatives of vectors `[N, D]` float32, which are encoded when they are needed."""
        return cls(model, _Latents(model, vectors), vectors)

    def tuples(
        self, rows: np.ndarray, own: np.ndarray, first_codes: np.ndarray, search: Search, full: Full
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns, for each item, the nearest free tuples under the given first code, with costs.

        The results are the free tuples, their costs, and the costs of the items' own tuples. All costs here are
        approximate costs. The nearest prefixes are completed in all possible ways, and the nearest free tuples among
        the results are chosen; see `Alternatives`. With a single level, there are no alternatives: the result is the
        first code with an infinite cost.
        """
        codebooks, sizes = self._codebooks, self._model.quantizer.codebook_sizes
        if len(sizes) == 1:
            # The first code is the whole tuple.
            return first_codes[:, None, None], np.full((len(rows), 1), np.inf, np.float32), np.zeros(len(rows))
        size = min(_PREFIXES_A_CALL, _COMPLETED_A_CALL // sizes[-1]) // search.prefixes

        def prefixes_of(*given: np.ndarray) -> tuple[jax.Array, ...]:
            return _nearest_prefixes(codebooks, *map(jax.device_put, given), search.prefixes)

        def tuples_of(*near: np.ndarray) -> tuple[jax.Array, ...]:
            return _nearest_free(codebooks, *map(jax.device_put, (*near, full(near[1]))), search.tuples)

        latents = self._latents[rows]
        *near, own_costs = _in_parts(prefixes_of, size, latents, own, first_codes)
        tuples, costs = _in_parts(tuples_of, size, latents, *near)
        return tuples, costs, own_costs

    def costs(self, rows: np.ndarray, tuples: np.ndarray) -> np.ndarray:
        """Returns the squared reconstruction errors of tuples.

        Raises:
          ValueError: if there are no vectors.
        """
        model, vectors = self._model, self._vectors
        if vectors is None:
            raise ValueError("exact costs need the vectors of the items")

        def errors_of(rows: np.ndarray, tuples: np.ndarray) -> tuple[jax.Array]:
            # `jnp.asarray` would compile a conversion for each shape.
            return (_errors(model, *map(jax.device_put, (vectors[rows], tuples))),)

        return _in_parts(errors_of, _TUPLES_A_CALL // tuples.shape[1], rows, tuples)[0]

    def first_codes(self, rows: np.ndarray) -> np.ndarray:
        """Returns each latent vector's squared error for each first code, if the later codes are chosen greedily."""

        def errors_of(rows: np.ndarray) -> tuple[jax.Array]:
            return (_compare_first_codes(self._codebooks, jax.device_put(self._latents[rows])),)

        return _in_parts(errors_of, _TUPLES_A_CALL // self._model.quantizer.codebook_sizes[0], rows)[0]


class _Latents:
    """The latent vectors `[N, Z]` of vectors `[N, D]`. A vector is encoded when its latent vector is first requested.

    An item may be in several rounds of a search, so its latent vector is kept.
    """

    def __init__(self, model: RQVAE, vectors: Rows):
        self._model, self._vectors = model, vectors
        self._kept = np.empty((len(vectors), model.quantizer.codebooks[0].shape[1]), np.float32)
        self._encoded = np.zeros(len(vectors), bool)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        new = rows[~self._encoded[rows]]
        if len(new):
            encoded = _in_parts(
                lambda rows: (_encode(self._model, jax.device_put(self._vectors[rows])),), _VECTORS_A_CALL, new
            )
            self._kept[new], self._encoded[new] = encoded[0], True
        return self._kept[rows]


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
        if missing:
            chosen = [np.pad(each, [(0, missing), *[(0, 0)] * (each.ndim - 1)], mode="edge") for each in chosen]
        waiting.append((step - missing, function(*chosen)))
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
    codebooks: Codebooks, latents: jax.Array, own: jax.Array, first_codes: jax.Array, width: int
) -> tuple[jax.Array, ...]:
    """Returns prefixes under the first codes, their squared distances to the latents, and the own tuples' costs."""
    first, *others = codebooks
    own_costs = squared_error(latents, sum_codewords(own, codebooks))
    rest, distances = beam_codes(latents - first[first_codes], others[:-1], width)
    leading = jnp.broadcast_to(first_codes[:, None, None], (*rest.shape[:2], 1))
    return jnp.concatenate([leading, rest], axis=-1), distances, own_costs


@functools.partial(jax.jit, static_argnames="count")
def _nearest_free(
    codebooks: Codebooks, latents: jax.Array, prefixes: jax.Array, distances: jax.Array, full: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    return completed_codes(latents, codebooks, prefixes, distances, full, count)


@jax.jit
def _errors(model: RQVAE, vectors: jax.Array, tuples: jax.Array) -> jax.Array:
    return squared_error(*model.compared(vectors[:, None], tuples))


@jax.jit
def _compare_first_codes(codebooks: Codebooks, latents: jax.Array) -> jax.Array:
    first, *others = codebooks
    residuals = latents[:, None] - first[None]
    if others:
        residuals = residuals - sum_codewords(assign_codes(residuals, others), others)
    return jnp.sum(jnp.square(residuals), axis=-1)
