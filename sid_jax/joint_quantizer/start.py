"""Initializes a jointly trained quantizer from a saved Semantic ID tokenizer, a training run, or k-means."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from sid_jax.config import check_config, default_config
from sid_jax.data.blocks import not_finite
from sid_jax.data.inputs import vector_set
from sid_jax.data.join_parts import vectors_of_parts
from sid_jax.data.layout import Layout
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError
from sid_jax.export.artifact import Export, load_export
from sid_jax.joint_quantizer.trained import plain_model, set_as_exported
from sid_jax.messages import Messages
from sid_jax.models.rqvae import RQVAE
from sid_jax.paths import as_path
from sid_jax.settings import fill, set_by_name
from sid_jax.tokenizer import SemanticIdTokenizer
from sid_jax.training.checkpoints import CHECKPOINTS_FOLDER
from sid_jax.training.level_choice import with_levels
from sid_jax.training.restore import restore_model
from sid_jax.training.state import begin


@dataclasses.dataclass(frozen=True, eq=False)
class Origin:
    """What is needed to export a jointly trained quantizer: the quantizer's settings and the format of its vectors.

    Attributes:
      config: the model's settings, see `sid_jax.config`.
      num_features: D.
      layout: the parts of the vectors; None for vectors without parts.
      about_parts: descriptions of the parts, as in an export's manifest.
    """

    config: ConfigDict
    num_features: int
    layout: Layout | None = None
    about_parts: tuple[dict[str, Any], ...] = ()

    def items(self, vectors: Any, item_ids: Any, columns: Any) -> VectorSet:
        """Returns the items; `vectors` are `[N, D]`, or a mapping from names of parts to their values.

        Raises:
          UserError: if the vectors do not have D features, or ids or columns cannot be used.
        """
        known = default_config().data
        if self.about_parts and isinstance(vectors, Mapping):
            vectors = vectors_of_parts(self.about_parts, vectors)
        if self.layout is None:
            data = vector_set(vectors, item_ids, columns=columns, settings=known)
        else:
            # The features of missing parts are NaN. `vector_set` rejects NaN, so it gets zeros instead.
            vectors = np.asarray(vectors, np.float32)
            if len(bad := not_finite(vectors, self.layout)):
                raise UserError(
                    f"vectors: row {bad[0]} (counted from 0) has infinite values, a part with some NaN, or no part; "
                    "give finite values, and only NaN in the parts that an item lacks"
                )
            data = vector_set(np.nan_to_num(vectors), item_ids, columns=columns, settings=known)
            data = dataclasses.replace(data, vectors=vectors, layout=self.layout, about_parts=self.about_parts)
        if data.vectors.shape[1] != self.num_features:
            raise UserError(
                f"vectors have {data.vectors.shape[1]} features, but the tokenizer needs {self.num_features}; give "
                "vectors from the encoder that made the tokenizer's training vectors"
            )
        return data


def is_saved(source: Any) -> bool:
    """Returns whether a source of `start_from` is a trained model instead of vectors."""
    return isinstance(source, (str, Path, SemanticIdTokenizer, Export))


def start_from(source: Any, settings: Mapping[str, Any]) -> tuple[RQVAE, Origin]:
    """Returns the model from which joint training starts, and its `Origin`.

    Args:
      source: a `SemanticIdTokenizer`, an `Export`, the folder of an export or of a finished run, or item vectors
        `[N, D]` as `SemanticIdTokenizer.fit` takes them, from which the codebooks are initialized by k-means.
      settings: settings of `sid_jax.config` by name; allowed only if the source is vectors.

    Raises:
      UserError: if the source cannot be used, or settings are given for an existing model.
    """
    if is_saved(source) and settings:
        raise UserError(
            f"{min(settings)} is a setting of the tokenizer that joint training starts from; set it when you train "
            "the tokenizer, or start from vectors"
        )
    if isinstance(source, (str, Path)):
        folder = as_path(source)
        if (folder / CHECKPOINTS_FOLDER).is_dir():
            config, model, _ = restore_model(folder)
            return _taken_up(config.copy_and_resolve_references(), model)
        source = load_export(folder)
    export = source.export if isinstance(source, SemanticIdTokenizer) else source
    if isinstance(export, Export):
        config = fill(default_config(), export.manifest.get("config", {}))
        return _taken_up(config, export.model, export.manifest.get("parts", ()))
    config = default_config()
    for name, value in settings.items():
        set_by_name(config, name, value)
    check_config(config)
    data = vector_set(source, settings=config.data)
    config = with_levels(config, data, None, Messages.silent())
    return _taken_up(config, begin(config, data.vectors, data.layout), data.about_parts)


def _taken_up(config: ConfigDict, model: RQVAE, about_parts: Any = ()) -> tuple[RQVAE, Origin]:
    set_as_exported(config)
    return plain_model(model), Origin(config, model.mean.shape[0], model.layout, tuple(about_parts))
