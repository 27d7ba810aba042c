"""What the first codes of each ID keep of the items' vectors, depth by depth."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.data.scaling import normalize
from sid_jax.models.rqvae import RQVAE

# Items decoded at a time.
_ITEMS_A_CALL = 8192

# One program: operation by operation, an accelerator compiles each of them.
_reconstruct = jax.jit(RQVAE.reconstruct)


def fidelity_by_depth(model: RQVAE, codes: np.ndarray, vectors: np.ndarray) -> list[dict[str, float]]:
    """Returns "r2", "mse" and "cosine" of what the first 1, 2, ... L codes decode to.

    Args:
      model: whose codebooks and decoder say what codes stand for.
      codes: `[N, L]` integers, of L levels of the model.
      vectors: `[N, D]` float32, as they came.
    """
    inputs = np.asarray(normalize(jnp.asarray(vectors), model.unit_norm))
    spread = float(np.square(inputs - inputs.mean(axis=0, dtype=np.float64)).sum()) or 1.0
    return [_fidelity(inputs, _decode(model, codes, depth), spread) for depth in range(1, codes.shape[1] + 1)]


def _decode(model: RQVAE, codes: np.ndarray, depth: int) -> np.ndarray:
    parts: Sequence[np.ndarray] = [
        np.asarray(_reconstruct(model, jnp.asarray(codes[first : first + _ITEMS_A_CALL, :depth])))
        for first in range(0, len(codes), _ITEMS_A_CALL)
    ]
    return np.concatenate(parts)


def _fidelity(inputs: np.ndarray, reconstructions: np.ndarray, spread: float) -> dict[str, float]:
    error = float(np.square(inputs - reconstructions, dtype=np.float64).sum())
    norms = np.linalg.norm(inputs, axis=1) * np.linalg.norm(reconstructions, axis=1)
    cosines = (inputs * reconstructions).sum(axis=1) / np.maximum(norms, 1e-12)
    return {"r2": 1 - error / spread, "mse": error / inputs.size, "cosine": float(cosines.mean(dtype=np.float64))}
