"""The search space of a sweep: candidate values of settings, declared by a config file or derived from the config."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from sid_jax.errors import UserError, reason, shown
from sid_jax.settings import AUTO, field_names, field_value, set_field

_FUNCTION = "sweep_space"


@dataclasses.dataclass(frozen=True)
class Between:
    """A number from `low` to `high`, inclusive; an integer if both bounds are integers.

    `log=True` samples the number log-uniformly.
    """

    low: float
    high: float
    log: bool = False


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of several values, of any type that a setting may have."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any):
        object.__setattr__(self, "values", values)


# Maps the name of a setting, such as "train.learning_rate", to its candidate values.
Space = Mapping[str, Between | OneOf]
# The candidate values of `train.learning_rate` and `train.settle_share` in `default_space` if the config has "auto".
_RATES, _SHARES = OneOf(AUTO, 2e-3, 5e-3, 1e-2, 2e-2), OneOf(AUTO, 0.1, 0.2, 0.3, 0.4)


def load_space(config_file: str, config: ConfigDict, given: Mapping[str, Any]) -> Space:
    """Returns the search space that a config file declares with the function `sweep_space(config)`.

    For a file without this function, the space is `default_space`. `config_file` may have an argument after a colon.
    Settings in `given`, set on the command line, are not searched.

    Raises:
      UserError: if the declaration is not a space or names an unknown setting, or if nothing is left to search.
    """
    path = Path(config_file.partition(":")[0])
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: not a Python config file; give a .py file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    declare = getattr(module, _FUNCTION, default_space)
    try:
        declared = declare(config)
    except Exception as error:  # A config file is a program, which may raise anything.
        raise UserError(
            f"{path}: {_FUNCTION} fails with {type(error).__name__}: {reason(error)}; correct it"
        ) from error
    if not isinstance(declared, Mapping) or not declared:
        raise UserError(
            f"{path}: {_FUNCTION} returns {shown(declared)}; return a dict of settings, such as "
            "{'train.learning_rate': Between(1e-3, 1e-2)}"
        )
    space = {name: values for name, values in declared.items() if name not in given}
    known = field_names(config)
    for name, values in space.items():
        if name not in known:
            raise UserError(
                f"{path}: {_FUNCTION} has {name!r}, which is not a setting; write the full name, as in "
                "'train.learning_rate'"
            )
        _check_values(f"{path}: {_FUNCTION}: {name}", values)
    if not space:
        raise UserError(
            f"{path}: every setting of {_FUNCTION} is also set on the command line, so nothing is left to search; "
            "omit the flag of at least one setting"
        )
    return space


def default_space(config: ConfigDict) -> Space:
    """Returns ranges around a config's own values for the most important settings (see docs/sweep.md)."""
    model, train = config.model, config.train
    space: dict[str, Between | OneOf] = {
        "train.learning_rate": _RATES if train.learning_rate == AUTO else _around(train.learning_rate, 4),
        "train.batch_size": OneOf(max(1, train.batch_size // 2), train.batch_size, 2 * train.batch_size),
    }
    if model.encoder == "identity":
        return space | {"model.ema_decay": Between(0.9, 0.999)}
    space |= {
        "model.latent_dimension": Between(max(1, model.latent_dimension // 2), 2 * model.latent_dimension),
        "model.commitment_weight": _around(model.commitment_weight, 4),
        "model.codebook_weight": _around(model.codebook_weight, 4),
        "train.settle_share": _SHARES if train.settle_share == AUTO else Between(0.1, 0.4),
    }
    if model.quantization_method == "gumbel_softmax":
        # With annealing, an initial temperature below the minimum has no effect. From a very high initial temperature,
        # the exponential schedule would not reach the minimum.
        low, high = max(model.min_temperature, model.temperature / 2), 2 * model.temperature
        space["model.temperature"] = Between(low, high, log=True)
        space["model.noise_scale"] = _around(model.noise_scale, 3)
    return space


def _around(value: float, factor: float) -> Between:
    """Returns the range from `value / factor` to `value * factor`. A value of 0 is replaced by 1."""
    middle = value or 1.0
    return Between(middle / factor, middle * factor, log=True)


def with_settings(config: ConfigDict, settings: Mapping[str, Any]) -> ConfigDict:
    """Returns a copy of the config with these settings.

    Raises:
      UserError: if a value does not have the type of its setting.
    """
    changed = config.copy_and_resolve_references()
    for name, value in settings.items():
        try:
            set_field(changed, name, value)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"the search space has config.{name}={value!r}, which is not possible ({reason(error)}); correct it in "
                "sweep_space"
            ) from error
    return changed


def own_settings(config: ConfigDict, space: Space) -> dict[str, Any] | None:
    """Returns the config's own values of the settings in a space; None if a value is outside the space."""
    own = {name: field_value(config, name) for name in space}
    return own if all(_holds(space[name], value) for name, value in own.items()) else None


def describe(space: Space) -> dict[str, str]:
    """Converts each setting's candidate values to text. Different spaces have different texts."""
    return {name: repr(values) for name, values in space.items()}


def _holds(values: Between | OneOf, value: Any) -> bool:
    return value in values.values if isinstance(values, OneOf) else value != AUTO and values.low <= value <= values.high


def _check_values(where: str, values: Any) -> None:
    if isinstance(values, OneOf):
        if not values.values:
            raise UserError(f"{where} has no values; give at least one")
    elif not isinstance(values, Between):
        raise UserError(f"{where} is {values!r}; write Between(low, high) or OneOf(value, …), from sid_jax.sweep.space")
    elif not values.low < values.high or (values.log and values.low <= 0):
        raise UserError(f"{where} is {values!r}; low must be below high, and above 0 with log=True")
