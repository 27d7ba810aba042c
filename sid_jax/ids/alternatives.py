"""The code tuples that an item could have instead of its own, and how far each lands from its vector."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sid_jax.data.scaling import normalise
from sid_jax.ids.relocate import Alternatives
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.beam import beam_codes
from sid_jax.quantize.losses import squared_error

# Tuples decoded at a time: bounds the memory that activations take.
_TUPLES_A_CALL = 2**15


def code_alternatives(model: RQVAE, vectors: np.ndarray, codes: np.ndarray) -> Alternatives:
    """Returns a function that finds tuples by beam search in the latent space and judges them by what they decode to.

    Args:
      model: trained.
      vectors: `[N, D]` float32, as they came.
      codes: `[N, L]` int32, what the model gives them.

    Returns:
      From rows `[M]` and a width C to tuples `[M, C + 1, L]`, the own one first (and perhaps again), and the squared
      error `[M, C + 1]` of the vectors that they stand for, in the space of the (unit-norm) input.
    """
    graphdef, parameters = nnx.split(model)

    def alternatives(rows: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        size = max(1, _TUPLES_A_CALL // width)
        parts = []
        for first in range(0, len(rows), size):
            chosen = rows[first : first + size]
            # The last call is filled up, so that all of them are one program.
            padded = np.pad(chosen, (0, size - len(chosen)), mode="edge")
            found = _search(graphdef, parameters, jnp.asarray(vectors[padded]), jnp.asarray(codes[padded]), width)
            parts.append([np.asarray(part)[: len(chosen)] for part in found])
        tuples, costs = zip(*parts, strict=True)
        return np.concatenate(tuples), np.concatenate(costs)

    return alternatives


@functools.partial(jax.jit, static_argnames=("graphdef", "width"))
def _search(
    graphdef: nnx.GraphDef[RQVAE], parameters: nnx.State, vectors: jax.Array, codes: jax.Array, width: int
) -> tuple[jax.Array, jax.Array]:
    model = nnx.merge(graphdef, parameters)
    found, _ = beam_codes(model.encode(vectors), model.quantizer.codebooks, width)
    tuples = jnp.concatenate([codes[:, None], found], axis=1)
    inputs = normalise(vectors, model.unit_norm)[:, None]
    return tuples, squared_error(inputs, model.reconstruct(tuples))
