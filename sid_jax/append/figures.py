"""What the manifest of a version says of its codes, and of how its new items fit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sid_jax.append.batch import Batch
from sid_jax.append.drift import add_up, code_shift, fit_of, reference_of, verdict
from sid_jax.append.items import Items
from sid_jax.append.published import Published
from sid_jax.append.version import Version
from sid_jax.bulk.figures import figures_of_buckets
from sid_jax.data.scaling import moments
from sid_jax.ids.alternatives import CodeAlternatives
from sid_jax.ids.relocate import tuple_keys

# New items decoded to see how well codes serve.
_SAMPLED_ITEMS = 2**16


def metrics_of(items: Items, sizes: Sequence[int]) -> dict[str, Any]:
    """Returns the manifest's figures of all codes; those that need the published items' vectors are not among them."""
    buckets = np.unique(tuple_keys(items.codes, sizes), return_counts=True)[1]
    counts = code_counts(items.codes, sizes)
    figures = figures_of_buckets(len(items), counts, *np.unique(buckets, return_counts=True))
    return {"num_items": len(items), "codebook_size": list(sizes), **figures}


def drift_of(published: Published, batch: Batch, version: Version) -> dict[str, Any]:
    """Returns the drift report.

    Args:
      published: the version before.
      batch: the items that are new.
      version: theirs and all others'.
    """
    sizes, reference = published.model.quantizer.codebook_sizes, reference_of(published.manifest)
    new_items = None
    if len(batch):
        semantic_ids = version.items.semantic_ids[version.added][:, : len(sizes)]
        fit = fit_of(reference, *_errors(published, batch, semantic_ids))
        taken = np.concatenate([published.items.codes, published.items.semantic_ids[:, : len(sizes)]])
        new_items = {
            "num_items": len(batch),
            **fit,
            "code_shift": code_shift(code_counts(batch.codes, sizes), code_counts(published.items.codes, sizes)),
            "collide": float(np.isin(tuple_keys(batch.codes, sizes), tuple_keys(taken, sizes)).mean()),
            "moved": float((semantic_ids != batch.codes).any(axis=1).mean()),
        }
    before = published.manifest.get("drift", {}).get("since_training")
    drift = {
        "reference": None if reference is None else dataclasses.asdict(reference),
        "new_items": new_items,
        "since_training": add_up(before, len(batch), new_items["r2"] if new_items else 0.0),
        "fill": _fill(published, version),
    }
    return {**drift, "verdict": verdict(drift, len(version.items))}


def code_counts(codes: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Returns for each level `[K]`, how many items have each code."""
    return [np.bincount(level, minlength=size) for level, size in zip(codes.T, sizes, strict=True)]


def _errors(published: Published, batch: Batch, semantic_ids: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns squared errors `[n, 2]` of codes and IDs, and the mean squared distance to the mean: of a sample."""
    every = max(1, -(-len(batch) // _SAMPLED_ITEMS))
    rows = np.arange(0, len(batch), every)
    tuples = np.stack([batch.codes[rows], semantic_ids[rows]], axis=1).astype(np.int32)
    errors = CodeAlternatives(published.model, batch.vectors).costs(rows, tuples)
    _, variance = moments(batch.vectors[rows], published.model.unit_norm)
    return errors, float(variance.sum())


def _fill(published: Published, version: Version) -> float:
    """Returns the share of all Semantic IDs that are in use or kept."""
    levels = published.model.quantizer.codebook_sizes
    if published.scheme == "relocate":
        return (len(version.items) + len(version.retired)) / (published.capacity * math.prod(levels))
    codes = np.concatenate([version.items.codes, version.retired.codes])
    return len(np.unique(tuple_keys(codes, levels))) / math.prod(levels)
