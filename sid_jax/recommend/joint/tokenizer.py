"""The trained quantizer from which joint training starts, with the vectors of its items."""

from __future__ import annotations

from pathlib import Path

from ml_collections import ConfigDict

from sid_jax.config import default_config
from sid_jax.data.load import load_corpus
from sid_jax.errors import UserError
from sid_jax.export.artifact import load_export
from sid_jax.joint_quantizer.trained import plain_model, set_as_exported, with_model
from sid_jax.recommend.data.quantizer import quantizer_config
from sid_jax.settings import fill
from sid_jax.training.restore import TrainedRun


def load_tokenizer(config: ConfigDict, folder: Path) -> TrainedRun:
    """Loads the quantizer of an export, together with the item vectors.

    The vectors are loaded with the export's settings; `config.quantizer.data` may give the current location of files.

    Raises:
      UserError: if the folder is not an export of a training run, or if the export was made from other vectors.
    """
    if not folder.is_dir():
        raise UserError(f"config.ids is {config.ids!r}, but joint training needs the folder of an export, or 'rqvae'")
    export = load_export(folder)
    if not {"config", "data"} <= export.manifest.keys():
        raise UserError(
            f"{folder} is not the export of a training run; export a training run with sid-jax export, or set "
            "config.ids=rqvae"
        )
    settings = fill(default_config(), export.manifest["config"])
    _find_moved(settings.data, quantizer_config(config).data)
    set_as_exported(settings)
    data = load_corpus(settings)
    if data.fingerprint() != export.manifest["data"]["fingerprint"]:
        raise UserError(
            f"{data.source} is not the data from which {folder} was made (vectors or ids differ); set "
            "--config.quantizer.data.path to the vectors of the export, and the other settings of "
            "config.quantizer.data as in the exported run"
        )
    return with_model(settings, data, plain_model(export.model))


def _find_moved(data: ConfigDict, now: ConfigDict) -> None:
    """Copies from `now` to `data` the settings that locate files and columns, but no settings that change vectors."""
    for name in ("path", "ids_path", "id_column", "vector_column") if now.path and now.source == data.source else ():
        data[name] = now[name]
    data.cache_dir = now.cache_dir or data.cache_dir
    data.cold_items = now.cold_items or data.cold_items
    data.histories.path = now.histories.path or data.histories.path
