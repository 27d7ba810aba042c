"""Encodes vectors to codes and decodes codes to vectors, for batches of any size.

Batches are padded to a few fixed sizes. There are two compiled functions, one for encoding and one for decoding, and
the model's arrays are arguments of these functions. Each function is therefore compiled once per size, for all models
of the same architecture.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sid_jax.data.arrays import as_vectors
from sid_jax.data.blocks import check_finite
from sid_jax.errors import UserError
from sid_jax.models.rqvae import RQVAE

# Number of vectors per call: intermediate arrays must fit into a CPU's cache.
ITEMS_A_CALL = 2048
# A batch is padded to the next larger of these sizes, or to ITEMS_A_CALL if it is larger than all of them.
_SIZES = (1, 16, 128, 512)


class _Architecture:
    """The static part of a model. Its hash is computed once, since every call needs the hash."""

    def __init__(self, graphdef: nnx.GraphDef[RQVAE], structure: Any):
        self.graphdef, self.structure = graphdef, structure
        self._hash = hash((graphdef, structure))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, _Architecture):
            return NotImplemented
        return (self.graphdef, self.structure) == (other.graphdef, other.structure)

    def model(self, arrays: tuple[jax.Array, ...]) -> RQVAE:
        return nnx.merge(self.graphdef, jax.tree.unflatten(self.structure, arrays))


class Encoder:
    """Encodes and decodes with the model's parameters at construction; later changes of the model have no effect."""

    def __init__(self, model: RQVAE):
        graphdef, state = nnx.split(model)
        arrays, structure = jax.tree.flatten(state)
        self._architecture, self._arrays = _Architecture(graphdef, structure), tuple(arrays)
        self._num_features, self._sizes = model.mean.shape[0], np.array(model.quantizer.codebook_sizes)
        self._layout = model.layout

    def encode(self, vectors: Any) -> np.ndarray:
        """Returns the codes `[n, L]` int32 of vectors `[n, D]`, or `[L]` of one vector; see `Export.encode`."""
        if isinstance(vectors, (np.ndarray, jax.Array)):
            # `as_vectors` would reject a single vector and an array without rows, which are allowed here.
            vectors = np.asarray(vectors)
        elif isinstance(vectors, (str, os.PathLike)):
            raise UserError(f"vectors is {vectors!r}; give an array [n, {self._num_features}], not a path")
        elif _is_one_vector(vectors):
            vectors = as_vectors([vectors], "vectors")[0]
        else:
            vectors = as_vectors(vectors, "vectors")
        if vectors.ndim == 1 and len(vectors) == self._num_features:
            return self.encode(vectors[None])[0]
        if vectors.ndim != 2 or vectors.shape[1] != self._num_features:
            raise UserError(f"vectors have shape {list(vectors.shape)}; this model encodes [n, {self._num_features}]")
        if vectors.dtype != np.float32:
            if vectors.dtype == bool or not jnp.issubdtype(vectors.dtype, np.number) or np.iscomplexobj(vectors):
                raise UserError(f"vectors have dtype {vectors.dtype}; give real numbers, such as float32")
            with np.errstate(over="ignore"):
                vectors = vectors.astype(np.float32)
        if not np.isfinite(vectors).all():
            check_finite(vectors, None, "vectors", self._layout)
        return self.codes_of(vectors)

    def decode(self, codes: Any) -> np.ndarray:
        """Returns the vectors `[n, D]` float32 of codes `[n, L]`, or `[D]` of one tuple; see `Export.decode`."""
        codes = np.asarray(codes)
        if codes.ndim == 1 and len(codes) == len(self._sizes):
            return self.decode(codes[None])[0]
        if codes.ndim != 2 or codes.shape[1] != len(self._sizes):
            raise UserError(
                f"codes have shape {list(codes.shape)}; this model decodes [n, {len(self._sizes)}], without the "
                "suffix that makes Semantic IDs unique"
            )
        if codes.dtype.kind not in "iu":
            raise UserError(f"codes have dtype {codes.dtype}; give whole numbers, such as int32")
        wrong = (codes < 0) | (codes >= self._sizes)
        if wrong.any():
            row, level = np.argwhere(wrong)[0]
            raise UserError(
                f"codes: row {row} (counted from 0) has the code {codes[row, level]} at level {level + 1}; codes of "
                f"this level are from 0 to {self._sizes[level] - 1}"
            )
        vectors = np.empty((len(codes), self._num_features), np.float32)
        return self._in_batches(_decode, codes.astype(np.int32), vectors)

    def codes_of(self, vectors: np.ndarray) -> np.ndarray:
        """Returns the codes `[n, L]` int32 of vectors `[n, D]` float32, without checking them."""
        return self._in_batches(_encode, vectors, np.empty((len(vectors), len(self._sizes)), np.int32))

    def _in_batches(self, function: Any, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        for start in range(0, len(inputs), ITEMS_A_CALL):
            batch = inputs[start : start + ITEMS_A_CALL]
            size = next((size for size in _SIZES if size >= len(batch)), ITEMS_A_CALL)
            if size > len(batch):
                batch = np.pad(batch, ((0, size - len(batch)), (0, 0)))
            outputs[start : start + size] = np.asarray(function(self._architecture, self._arrays, batch))[
                : len(inputs) - start
            ]
        return outputs


def _is_one_vector(vectors: Any) -> bool:
    """Returns whether a list, a tuple or a tensor of PyTorch has numbers as its elements."""
    kind = isinstance(vectors, (list, tuple)) or hasattr(vectors, "detach")
    return kind and len(vectors) > 0 and np.ndim(vectors[0]) == 0 and not isinstance(vectors[0], (str, bytes))


def encode_vectors(model: RQVAE, vectors: np.ndarray) -> np.ndarray:
    """Returns the codes `[n, L]` int32 of vectors `[n, D]` float32, without checking them."""
    return Encoder(model).codes_of(vectors)


@functools.partial(jax.jit, static_argnums=0)
def _encode(architecture: _Architecture, arrays: tuple[jax.Array, ...], vectors: jax.Array) -> jax.Array:
    return architecture.model(arrays).assign(vectors)


@functools.partial(jax.jit, static_argnums=0)
def _decode(architecture: _Architecture, arrays: tuple[jax.Array, ...], codes: jax.Array) -> jax.Array:
    return architecture.model(arrays).reconstruct(codes)
