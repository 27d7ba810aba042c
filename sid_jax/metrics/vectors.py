"""What the first codes of each ID keep of the items' vectors, depth by depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.data.blocks import in_blocks, take_rows
from sid_jax.data.scaling import normalize
from sid_jax.ids.quality import explained_by_prefix
from sid_jax.ids.yardstick import kmeans_r2, random_r2
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.health import row_hashes
from sid_jax.streams import stream_rng

# Items decoded at a time.
_ITEMS_A_CALL = 8192
# Items that the report's fidelity is measured on, here and by residual k-means: beyond, a random sample.
_MOST_ITEMS = 10_000
_MOST_GROUPS = 50
_MOST_ITEMS_OF_A_GROUP = 20

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


def identical_items(vectors: np.ndarray) -> dict[str, Any]:
    """Returns how many items have the vector of another one, in how many groups, and the rows of the largest groups."""
    hashes = np.concatenate([row_hashes(block) for _, block in in_blocks(vectors)])
    order = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(np.append(True, hashes[order][1:] != hashes[order][:-1]))
    sizes = np.diff(np.append(starts, len(order)))
    largest = np.argsort(-sizes, kind="stable")[:_MOST_GROUPS]
    rows = [order[starts[each] : starts[each] + sizes[each]][:_MOST_ITEMS_OF_A_GROUP] for each in largest]
    return {
        "num_items": int(sizes[sizes > 1].sum()),
        "num_groups": int((sizes > 1).sum()),
        "groups": [
            {"size": int(sizes[each]), "rows": some.tolist()}
            for each, some in zip(largest, rows, strict=True)
            if sizes[each] > 1
        ],
    }


def report_figures(model: RQVAE, codes: np.ndarray, vectors: np.ndarray) -> dict[str, Any]:
    """Returns what the report says of vectors: what final codes `[N, L]` keep of them, and which are identical."""
    return {"fidelity": _fidelity_of_sample(model, codes, vectors), "identical": identical_items(vectors)}


def _fidelity_of_sample(model: RQVAE, codes: np.ndarray, vectors: np.ndarray) -> dict[str, Any]:
    rows = np.arange(len(vectors))
    if len(rows) > _MOST_ITEMS:
        rows = np.sort(stream_rng(0, "report/fidelity").choice(len(vectors), _MOST_ITEMS, replace=False))
    sample, sizes = take_rows(vectors, rows), model.quantizer.codebook_sizes
    inputs = np.asarray(normalize(jnp.asarray(sample), model.unit_norm))
    return {
        "num_items": len(rows),
        "r2": [each["r2"] for each in fidelity_by_depth(model, codes[rows].astype(np.int32), sample)],
        "kmeans_r2": kmeans_r2(inputs, sizes),
        "random_r2": random_r2(len(rows), sizes),
        "between_prefixes": explained_by_prefix(codes[rows], inputs),
    }
