"""Builds the config of a recommender from a preset and named settings, for the Python API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from sid_jax.errors import UserError
from sid_jax.presets import QUANTIZER, RECOMMENDER_DATA
from sid_jax.presets import preset as load_preset
from sid_jax.recommend.config import check_config
from sid_jax.settings import refuse_arguments_of_fit, set_by_name

_PRESET = "recommend"
_IN_MEMORY = "in memory"
# The arguments of the preset "recommend" that select a model, each with the class in `sid_jax.recommender` that trains
# this model.
_CLASSES = {"scorer": "Recommender", "decoder": "GenerativeRecommender"}
# If a setting is named without its section, it is first looked up in these sections. The recommender's settings
# therefore take precedence over settings of the quantizer and the baselines that have the same name.
_SECTIONS = ("data", "model", "train", "eval", "backoff")


def config_of(preset: str, model: str, ids: str | None, settings: Mapping[str, Any]) -> ConfigDict:
    """Returns the settings of a recommender that gets IDs and histories as arguments, not from a preset's catalog.

    Args:
      preset, settings: see `sid_jax.recommender.Recommender`.
      model: "scorer" or "decoder", the argument of the preset "recommend" that selects the model.
      ids: the path of the Semantic IDs; None if they are in memory.

    Raises:
      UserError: if there is no such preset or setting, if a value is not allowed, or if the preset names another model
        or is a preset of the quantizer.
    """
    refuse_arguments_of_fit(settings)
    config = _config_of_preset(preset, model)
    for section in (config.data, config.quantizer.data):
        section.source, section.path = ("sequences" if section is config.data else "vectors"), ""
    config.quantizer.data.histories.source = "none"
    config.ids = _IN_MEMORY if ids is None else ids
    for setting, value in settings.items():
        set_by_name(config, _full_name(config, setting), value)
    check_config(config)
    if config.joint.estimator != "none":
        raise UserError(
            f"config.joint.estimator is {config.joint.estimator!r}, but joint training is only available as a "
            "command: run sid-jax recommend --config=joint:beauty, and load the result with sid_jax.load"
        )
    return config


def _config_of_preset(preset: str, model: str) -> ConfigDict:
    """Returns the settings of a preset. For the preset "recommend", the argument `model` is added to its name."""
    # "ml100k" alone is a data set of the preset "recommend", but "ml100k:gumbel" is a preset of the quantizer.
    if preset.partition(":")[0] in QUANTIZER and preset not in RECOMMENDER_DATA:
        raise UserError(
            f"{preset!r} is a preset of the quantizer; the presets of {_CLASSES[model]} are "
            f"{', '.join(f'{_PRESET}:{data_set}' for data_set in RECOMMENDER_DATA)}"
        )
    full = preset if ":" in preset or preset == _PRESET else f"{_PRESET}:{preset}"
    name, _, argument = full.partition(":")
    # The preset is first loaded without the model, so that the error for an unknown argument quotes the given argument.
    config = load_preset(full)
    if name != _PRESET:
        return config
    for other in _CLASSES.keys() - {model}:
        if other in argument.split(","):
            raise UserError(
                f"the preset {preset!r} selects the {other}, but {_CLASSES[model]} is the {model}; omit {other!r}, or "
                f"use {_CLASSES[other]}"
            )
    return load_preset(f"{_PRESET}:{argument},{model}")


def _full_name(config: ConfigDict, name: str) -> str:
    """Returns a setting's name, with its section if exactly one of `_SECTIONS` has a setting of this name."""
    found = [section for section in _SECTIONS if "." not in name and name in config[section]]
    return f"{found[0]}.{name}" if len(found) == 1 else name
