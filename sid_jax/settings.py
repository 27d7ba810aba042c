"""What every config has in common: its fields by name, the check of their values, its saved form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from sid_jax.errors import UserError


def fill(config: ConfigDict, content: dict[str, Any]) -> ConfigDict:
    """Returns the config with the values of its saved form; lists become the tuples that they were.

    Raises:
      KeyError: for a field that the config lacks.
    """
    for name, value in _flat(content).items():
        set_field(config, name, tuple(value) if isinstance(value, list) else value)
    return config


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns the fields in which two configs, as dicts, differ: name, old value, new value."""
    left, right = _flat(old), _flat(new)
    for values in (left, right):
        # A list and a tuple of the same numbers mean the same; a saved config has lists alone.
        values.update({name: tuple(value) for name, value in values.items() if isinstance(value, list)})
    return [(name, left.get(name), right.get(name)) for name in {**left, **right} if left.get(name) != right.get(name)]


def check_values(
    config: ConfigDict, choices: Mapping[str, Sequence[Any]], ranges: Mapping[str, tuple[float, float]]
) -> None:
    """Refuses a value that is not among its field's choices, or not in its field's range.

    Args:
      config: what to check.
      choices: by field, `section.name`.
      ranges: by field, the least and the most.

    Raises:
      UserError: with the field, its value, and what it may be.
    """
    for name, allowed in choices.items():
        value = field_value(config, name)
        if value not in allowed:
            raise UserError(f"config.{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}")
    for name, (least, most) in ranges.items():
        value = field_value(config, name)
        if not (math.isfinite(value) and least <= value <= most):
            raise UserError(f"config.{name} is {value}; it must be from {least:g} to {most:g}")


def field_names(config: ConfigDict) -> list[str]:
    """Returns the name of every setting, `section.field`, in order."""
    return list(_flat(config.to_dict()))


def field_value(config: ConfigDict, name: str) -> Any:
    """Returns the value of `section.field`."""
    section, field = _owner(config, name)
    return section[field]


def set_field(config: ConfigDict, name: str, value: Any) -> None:
    """Sets `section.field`.

    Raises:
      TypeError: if the value is not of the field's type.
    """
    section, field = _owner(config, name)
    section[field] = value


def choose(arg: str, methods: Sequence[str], options: Sequence[str]) -> tuple[str, set[str]]:
    """Reads a config file's argument, such as "gumbel" or "gumbel,quick": one method at most, any of the options.

    Returns:
      The method, the first one if none is named, and the options named.

    Raises:
      UserError: for any other word.
    """
    words = [word for word in arg.split(",") if word]
    named = [word for word in words if word in methods]
    unknown = [word for word in words if word not in (*methods, *options)]
    if unknown or len(named) > 1:
        raise UserError(
            f"unknown argument {arg!r}: it must be one of {', '.join(methods)}, and may add {', '.join(options)} "
            f"after a comma"
        )
    return (named or [methods[0]])[0], set(words) - set(named)


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat


def _owner(config: ConfigDict, name: str) -> tuple[ConfigDict, str]:
    *sections, field = name.split(".")
    for section in sections:
        config = config[section]
    return config, field
