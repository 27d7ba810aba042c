"""What items are like, whether anybody has seen them or not: their vectors."""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict

from sid_jax.data.scaling import apply_scaling, fit_scaling
from sid_jax.errors import UserError
from sid_jax.recommend.data.item_vectors import content_vectors
from sid_jax.recommend.data.quantizer import quantizer_config


def needs_content(config: ConfigDict) -> bool:
    """Returns whether a run's test asks what items are like."""
    return bool(config.eval.cold_slots) or "semantic_knn" in config.eval.baselines


def content_settings(config: ConfigDict) -> ConfigDict:
    """Returns where the vectors are that say what items are like, as the `data` of a quantizer.

    Raises:
      UserError: if the config names none.
    """
    settings = quantizer_config(config).data
    if settings.source == "vectors" and not settings.path:
        raise UserError(
            "unseen items are told apart by their content, and config.quantizer.data names no vectors: pass "
            "--config.quantizer.data.path=FILE, those that the IDs were made from"
        )
    # Who is cold says the caller; some of them may be gone.
    settings.cold_items = ""
    return settings


def load_content(
    config: ConfigDict, item_ids: np.ndarray, cold: np.ndarray, gone: np.ndarray | None = None
) -> np.ndarray:
    """Returns what items are like: the vectors of `config.quantizer.data`, centered on what is known, at length 1.

    Args:
      config: as from `sid_jax.recommend.config`.
      item_ids: `[N]` ids of the catalog.
      cold: `[N]` bool, items that the center must not know of.
      gone: `[N]` bool, items that are not recommended any more, and may have no vector any more: theirs is then 0,
        which is as like to one item as to the next; None for none.

    Returns:
      `[N, D]` float32.

    Raises:
      UserError: if there are no vectors, or not of all items that are there.
    """
    vectors = content_vectors(content_settings(config), item_ids, gone)
    fitted = ~cold & ~np.isnan(vectors).any(axis=1)
    scaling = fit_scaling(vectors[fitted], unit_norm=True, center=True, standardize="none")
    centered = np.nan_to_num(apply_scaling(scaling, vectors))
    return centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), np.finfo(np.float32).tiny)
