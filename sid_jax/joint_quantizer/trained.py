"""Converts a trained quantizer to a model for joint training, and a jointly trained quantizer to a finished run."""

from __future__ import annotations

import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from sid_jax.data.vector_set import VectorSet
from sid_jax.export.weights import model_from_weights, model_info, scaling_of, torch_weights
from sid_jax.models.rqvae import RQVAE
from sid_jax.training.recipe import Recipe
from sid_jax.training.restore import TrainedRun
from sid_jax.training.schedules import Durations
from sid_jax.training.state import make_state


def plain_model(model: RQVAE) -> RQVAE:
    """Converts a model trained by any method to one whose only parameters are encoder, codebooks and decoder.

    With "simvq", codebooks are products of two parameters; the new model's parameters are these products. The linear
    map of the alignment loss is dropped, since joint training does not have this loss.
    """
    codebooks = [np.asarray(codebook) for codebook in model.quantizer.codebooks]
    info = {**model_info(model), "quantization_method": "ste"}
    return model_from_weights(codebooks, torch_weights(model), scaling_of(model), info)


def with_model(settings: ConfigDict, data: VectorSet, model: RQVAE) -> TrainedRun:
    """Returns a finished run with this model, ready for evaluation and export.

    Args:
      settings: the quantizer's settings.
      data: the catalog.
      model: the model, with final codebooks as in an export.
    """
    durations = Durations.of(settings.train, data.num_trained)
    recipe = Recipe.of(settings, durations, model)
    state = make_state(model, recipe.init_optimizer)
    return TrainedRun(settings, data, recipe, state, durations.num_steps)


def parts(model: RQVAE) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """Splits a model into its structure, its parameters, and its statistics."""
    graphdef, params, *others = nnx.split(model, nnx.Param, ...)
    return graphdef, params, others[0]


def set_as_exported(settings: ConfigDict) -> None:
    """Changes settings in place to fit an exported model: the method "ste", no loss on histories, and no suffix."""
    settings.model.quantization_method = "ste"
    settings.model.contrastive_weight = settings.model.alignment_weight = 0.0
    # A suffix would add a level that the recommender was not trained on.
    if settings.ids.unique == "suffix":
        settings.ids.unique = "relocate"
