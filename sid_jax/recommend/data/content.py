"""Loads the content vectors of a recommender's items, and centers and scales them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from ml_collections import ConfigDict

from sid_jax.data.arrays import is_table
from sid_jax.data.inputs import vector_set
from sid_jax.data.load import load_vectors
from sid_jax.data.scaling import apply_scaling, dense_vectors, fit_scaling
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError
from sid_jax.ids.convert import comparable
from sid_jax.messages import LOGGER
from sid_jax.recommend.config import GENERATIVE, OF_CONTENT
from sid_jax.recommend.data.quantizer import BAD_ROWS_OPTION, quantizer_config


def content_of(
    config: ConfigDict,
    item_ids: np.ndarray,
    cold: np.ndarray,
    remedy: str = "set --config.quantizer.data.path to",
) -> np.ndarray | None:
    """Loads the content vectors with `load_content` if the model, cold items or the evaluation need them.

    Returns None if nothing needs vectors, or if the config names no vectors and the evaluation does not need them. In
    the second case, a warning says how to name them: `remedy`, followed by "the vectors".

    Raises:
      UserError: if the evaluation needs vectors and the config names none, or if an item has no vector.
    """
    wanted = uses_content(config, bool(cold.any()))
    if not needs_content(config) and not (wanted and names_content(config)):
        if wanted:
            LOGGER.warning(
                "the recommender uses no content vectors of the items; for better recommendations, %s the vectors from "
                "which the IDs were made",
                remedy,
            )
        return None
    return load_content(config, item_ids, cold)


def needs_content(config: ConfigDict) -> bool:
    """Returns whether a run's evaluation needs content vectors."""
    return bool(config.eval.cold_slots) or not set(OF_CONTENT).isdisjoint(config.eval.baselines)


def uses_content(config: ConfigDict, has_cold: bool) -> bool:
    """Returns whether the config's model, its blend, or the scores of its cold items use content vectors."""
    if config.model.kind == "scorer":
        return "content" in (*config.model.item_parts, *config.model.blend)
    return has_cold and config.model.kind in GENERATIVE


def names_content(config: ConfigDict) -> bool:
    """Returns whether `config.quantizer.data` names vectors."""
    data = quantizer_config(config).data
    return data.source != "vectors" or bool(data.path)


def content_settings(config: ConfigDict) -> ConfigDict:
    """Returns the settings from which the content vectors are loaded: the section `data` of a quantizer's config.

    Raises:
      UserError: if the config names no vectors.
    """
    if not names_content(config):
        raise UserError(
            f"{' and '.join(_uses_in_test(config))} use vectors of the items, but config.quantizer.data has no "
            "vectors; set --config.quantizer.data.path to the vectors from which the IDs were made"
        )
    settings = quantizer_config(config).data
    # The cold items are an argument of `load_content`. Their file is not read, since it may name items that no longer
    # exist.
    settings.cold_items = ""
    return settings


def _uses_in_test(config: ConfigDict) -> list[str]:
    """Returns the uses of content vectors in a run's evaluation, each with the setting that requests it."""
    baselines = [name for name in config.eval.baselines if name in OF_CONTENT]
    slots = (
        [f"scores of cold items (config.eval.cold_slots={config.eval.cold_slots})"] if config.eval.cold_slots else []
    )
    return slots + ([f"baselines (config.eval.baselines={','.join(baselines)})"] if baselines else [])


def load_content(
    config: ConfigDict,
    item_ids: np.ndarray,
    cold: np.ndarray,
    available: np.ndarray | None = None,
    option: str = BAD_ROWS_OPTION,
) -> np.ndarray:
    """Loads the content vectors of `config.quantizer.data`, and centers and scales them with `unit_content`.

    Args:
      config: from `sid_jax.recommend.config`.
      item_ids: `[N]` ids of the catalog.
      cold: `[N]` bool, items that are excluded from the mean that is subtracted.
      available: `[n]` row numbers of the items that may be recommended, which must have a vector; None for
        all items. An item that may not be recommended and has no vector gets a zero vector, whose cosine with every
        item is 0.
      option: see `sid_jax.data.vector_files.treat_bad_rows`.

    Returns:
      `[N, D]` float32 vectors of length 1, or zero vectors.

    Raises:
      UserError: if there are no vectors, or an available item has none.
    """
    vectors = content_vectors(content_settings(config), item_ids, available, option)
    return unit_content(vectors, cold)


def content_in_memory(
    vectors: Any,
    item_ids: np.ndarray,
    cold: np.ndarray,
    settings: ConfigDict,
    *,
    available: np.ndarray | None = None,
    option: str = "",
) -> np.ndarray:
    """Returns content vectors that are given in memory, centered and scaled with `unit_content`.

    Args:
      vectors: `[N, D]` in the order of `item_ids`, or vectors with their own ids; see `vector_set`. Paths are also
        accepted.
      item_ids, cold, available, option: see `load_content`.
      settings: the section `data` of a quantizer's config.

    Returns:
      See `load_content`.

    Raises:
      UserError: if the vectors have an unsupported form, or an available item has none.
    """
    own_ids = is_table(vectors) or isinstance(vectors, (Mapping, str, Path))
    given = vector_set(vectors, None if own_ids else item_ids, settings=settings, bad_rows_option=option)
    return unit_content(vectors_of(given, item_ids, available, "vectors"), cold)


def unit_content(vectors: np.ndarray, cold: np.ndarray) -> np.ndarray:
    """Scales vectors `[N, D]` to length 1, subtracts the mean over warm items, and scales to length 1 again.

    A row with NaN becomes a zero vector.
    """
    fitted = ~cold & ~np.isnan(vectors).any(axis=1)
    scaling = fit_scaling(vectors[fitted], unit_norm=True, center=True, standardize="none")
    centered = np.nan_to_num(apply_scaling(scaling, vectors))
    return centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def content_vectors(
    data_config: ConfigDict,
    item_ids: np.ndarray,
    available: np.ndarray | None = None,
    option: str = BAD_ROWS_OPTION,
) -> np.ndarray:
    """Loads the vectors of a catalog's items, without vectors that are computed from histories.

    Args:
      data_config: the `data` section of a quantizer.
      item_ids: `[N]` ids of the catalog; matched as text if only one of catalog and vectors has integer ids.
      available, option: see `load_content`.

    Returns:
      `[N, D]` float32, not scaled; vectors with parts are converted by `dense_vectors`. A row is NaN if its item is not
      available and has no vector.

    Raises:
      UserError: if there are no vectors, or an available item has none.
    """
    settings = data_config.copy_and_resolve_references()
    # No vectors are computed from histories, since cold items would have none.
    settings.histories.source = "none"
    return vectors_of(load_vectors(settings, option=option), item_ids, available)


def vectors_of(
    data: VectorSet, item_ids: np.ndarray, available: np.ndarray | None = None, where: str = "config.quantizer.data"
) -> np.ndarray:
    """Takes the vectors of a catalog's items from a vector set; see `content_vectors` for the arguments and the result.

    `where` is the name of the vectors in error messages.

    Raises:
      UserError: if an available item has no vector.
    """
    have, wanted = comparable(data.ids, item_ids)
    rows = pc.fill_null(pc.index_in(wanted, value_set=have), -1).to_numpy()
    needed = np.ones(len(item_ids), bool)
    if available is not None:
        needed[:] = False
        needed[available] = True
    missing = (rows < 0) & needed
    if missing.any():
        left_out = f" ({data.left_out})" if data.left_out.num_rows else ""
        raise UserError(
            f"{where} has no vectors for {missing.sum()} of {len(item_ids)} items; the first one is "
            f"{item_ids[missing].tolist()[0]!r}{left_out}. Give the vectors from which the IDs were made, "
            "including the vectors of new items"
        )
    vectors = dense_vectors(data.vectors, data.layout)[rows]
    vectors[rows < 0] = np.nan
    return vectors
