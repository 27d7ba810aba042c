"""The trained tokenizer that joint training starts from, with the vectors of its items."""

from __future__ import annotations

from pathlib import Path

from flax import nnx
from ml_collections import ConfigDict

from sid_jax.config import default_config
from sid_jax.data.load import load_corpus
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError
from sid_jax.export.artifact import load_export
from sid_jax.models.rqvae import RQVAE
from sid_jax.recommend.data.quantizer import quantizer_config
from sid_jax.settings import fill
from sid_jax.training.recipe import Recipe
from sid_jax.training.restore import TrainedRun
from sid_jax.training.schedules import Durations
from sid_jax.training.state import make_state


def load_tokenizer(config: ConfigDict, folder: Path) -> TrainedRun:
    """Returns the tokenizer of an export.

    Its vectors are made as the export's settings say; where their files lie now, `config.quantizer.data` may say.

    Raises:
      UserError: if there is no such export, it is not one of a trained run, or the vectors are not its own.
    """
    if not folder.is_dir():
        raise UserError(f"config.ids is {config.ids!r}: joint training needs an export's folder, or 'rqvae'")
    export = load_export(folder)
    if not {"config", "data"} <= export.manifest.keys():
        raise UserError(f"{folder} is not the export of a training run: export with --workdir, or set config.ids=rqvae")
    settings = fill(default_config(), export.manifest["config"])
    _find_moved(settings.data, quantizer_config(config).data)
    _as_exported(settings)
    data = load_corpus(settings)
    if data.fingerprint() != export.manifest["data"]["fingerprint"]:
        raise UserError(
            f"{data.source} is not what {folder} was made of (vectors or ids differ): name its vectors by "
            "--config.quantizer.data.path, and what else of config.quantizer.data they need"
        )
    return with_model(settings, data, export.model)


def with_model(settings: ConfigDict, data: VectorSet, model: RQVAE) -> TrainedRun:
    """Returns a finished run that has this model, to be measured and exported as any other.

    Args:
      settings: the quantizer's.
      data: the corpus.
      model: with the codebooks that it shows, as an export has them.
    """
    durations = Durations.of(settings.train, data.num_trained)
    recipe = Recipe.of(settings, durations, model)
    state = make_state(model, recipe.optimizer)
    return TrainedRun(settings, data, recipe, state, durations.num_steps)


def parts(model: RQVAE) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """Returns a model's structure, its parameters, and what of it no optimizer moves."""
    graphdef, params, *others = nnx.split(model, nnx.Param, ...)
    return graphdef, params, others[0]


def _find_moved(data: ConfigDict, now: ConfigDict) -> None:
    """Takes over where the files are, and how they are to be read; what is made of them stays."""
    for name in ("path", "ids_path", "id_column", "vector_column") if now.path and now.source == data.source else ():
        data[name] = now[name]
    data.cache_dir = now.cache_dir or data.cache_dir
    data.cold_items = now.cold_items or data.cold_items
    data.histories.path = now.histories.path or data.histories.path


def _as_exported(settings: ConfigDict) -> None:
    """An export has the codebooks that export took codes from, whatever trained them, and no map to other vectors."""
    settings.model.quantization_method = "ste"
    settings.model.contrastive_weight = settings.model.alignment_weight = 0.0
    # The recommender goes on with the levels that it learned: there is no suffix.
    if settings.ids.unique == "suffix":
        settings.ids.unique = "relocate"
