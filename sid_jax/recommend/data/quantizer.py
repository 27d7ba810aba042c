"""Trains the quantizer of a recommender's config and exports its IDs (config.ids=rqvae)."""

from __future__ import annotations

import re
from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console

from sid_jax.config import default_config
from sid_jax.data.catalogs.names import CATALOGS
from sid_jax.errors import UserError
from sid_jax.export.run import export
from sid_jax.messages import Messages
from sid_jax.settings import fill
from sid_jax.signals import training_stopped
from sid_jax.training.processes import refuse_several
from sid_jax.training.quantizer import train

# The option that drops item vectors with NaN or infinite values. Error messages name it.
BAD_ROWS_OPTION = "--config.quantizer.data.on_bad_rows=drop"
_OWN = re.compile(r"config\.(?=(?:ids|model|train)\.)")
_OWN_DATA = re.compile(r"config\.(?=data\.(?!cold_items|on_unknown))")


def quantizer_config(config: ConfigDict) -> ConfigDict:
    """Returns the quantizer's settings in a recommender's config.

    The seed and the cold items are taken from the recommender's settings. If the histories come from a named catalog,
    such as movielens-100k, and the quantizer's settings name no data or the same catalog, then the quantizer is trained
    on this catalog.
    """
    settings = fill(default_config(), config.quantizer.to_dict())
    settings.seed = config.seed
    share_catalog(settings.data, config.data)
    if config.data.cold_items:
        settings.data.cold_items, settings.data.on_unknown = config.data.cold_items, config.data.on_unknown
    return settings


def share_catalog(data: ConfigDict, of_histories: ConfigDict) -> None:
    """Fills in unset settings of the quantizer's section `data` from the recommender's section `data`.

    `data` is the quantizer's section, and `of_histories` the recommender's section. The source and the paths
    are filled in only if `of_histories` names a catalog, such as movielens-100k.
    """
    data.cache_dir = data.cache_dir or of_histories.cache_dir
    if of_histories.source not in CATALOGS:
        return
    if not data.path and data.source in ("vectors", of_histories.source):
        data.source, data.path = of_histories.source, of_histories.path
        data.core = of_histories.get("core", data.core)
    if data.histories.source == of_histories.source != data.source:
        data.histories.path = data.histories.path or of_histories.path


def train_ids(config: ConfigDict, workdir: Path, console: Console) -> Path:
    """Trains the quantizer of `config.quantizer` and exports its IDs, unless the export exists.

    Returns:
      The export's folder, `<workdir>/ids`.
    """
    out = workdir / "ids"
    if not out.exists():
        refuse_several("Training a quantizer for config.ids=rqvae")
        messages = Messages.to_console(console)
        try:
            folder = workdir / "quantizer"
            run = train(quantizer_config(config), folder, messages=messages, exported=True, nested=True)
            if run is None:
                raise training_stopped()
            export(folder, out, run=run, messages=messages, nested=True)
        except UserError as error:
            raise UserError(_in_quantizer(str(error), config.data.source in CATALOGS)) from error
    return out


def _in_quantizer(text: str, same_catalog: bool) -> str:
    """Replaces the names that settings have in `sid-jax train` by their names in the section `quantizer`.

    Settings that `quantizer_config` takes from the recommender's own section `data` keep their names.
    """
    text = _OWN.sub("config.quantizer.", text)
    return text if same_catalog else _OWN_DATA.sub("config.quantizer.", text)
