"""Declares settings, each with a default, a meaning, and its allowed choices or range.

A declaration is a nested dict of `Setting`s. The default config, the check of a config, and the lists of settings in
help and docs are derived from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference

from sid_jax.errors import UserError

_INFINITY = float("inf")
_TINY = 1e-12
POSITIVE = (_TINY, _INFINITY)
NOT_NEGATIVE = (0.0, _INFINITY)
ONE_OR_MORE = (1.0, _INFINITY)
SHARE = (0.0, 1.0)
POSITIVE_SHARE = (_TINY, 1.0)
# This value means that each run chooses the setting itself, for example from the number of items or of steps.
AUTO = "auto"

# Earlier names of settings. They are accepted for one version, with a warning.
RENAMED = {
    "centre": "center",
    "standardise": "standardize",
    "held_out_path": "cold_items",
    "unseen_slots": "cold_slots",
}
# Settings of earlier versions, which saved configs may have. They are ignored.
_REMOVED = ("noise_decay", "noise_offset")
# These settings are missing in configs that earlier versions saved. The values here are the ones that the earlier
# versions used; they differ from the defaults.
_BEFORE = {"model.encoder": "mlp", "train.augmentation": 0.0}


class RenamedSettingWarning(FutureWarning):
    """Warns that an earlier name of a setting was used."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
      default: the default value; other values must have the same type, unless `any_type` is True.
      meaning: description for help and docs.
      choices: allowed values, or the allowed elements of a tuple; empty allows any value.
      range: minimum and maximum of a number.
      any_type: whether values may have another type than the default.
      words: strings that are allowed instead of a number.
    """

    default: Any
    meaning: str
    choices: Sequence[Any] = ()
    range: tuple[float, float] | None = None
    any_type: bool = False
    words: Sequence[str] = ()

    def check(self, name: str, value: Any) -> None:
        """Raises a UserError if `value` is not allowed for the setting `config.NAME`."""
        if self.choices and isinstance(self.default, tuple):
            for each in value:
                if each not in self.choices:
                    raise UserError(
                        f"config.{name} has {each!r}; each value must be one of {', '.join(map(repr, self.choices))}"
                    )
        elif self.choices and value not in self.choices:
            raise UserError(f"config.{name} is {value!r}; it must be one of {', '.join(map(repr, self.choices))}")
        if self.range is not None and value not in self.words:
            least, most = self.range
            if not (isinstance(value, (int, float)) and math.isfinite(value) and least <= value <= most):
                words = "".join(f"{word!r} or " for word in self.words)
                raise UserError(f"config.{name} is {value}; it must be {words}{_limits(least, most, 'from ')}")

    def allowed(self) -> str:
        """Returns the choices or the range as text; "" if any value is allowed."""
        if self.choices:
            return ", ".join(map(str, self.choices))
        if self.range is None:
            return ""
        least, most = self.range
        return "".join(f"{word}, or " for word in self.words) + _limits(least, most)


# The settings of a section and its subsections, by name.
Declaration = Mapping[str, "Setting | Declaration"]


class Settings(ConfigDict):
    """A `ConfigDict` whose settings can also be set by an earlier name, with a warning."""

    def __setitem__(self, key: str, value: Any) -> None:
        """Sets a field. An earlier name sets the field with the new name."""
        if key in RENAMED and key not in self and RENAMED[key] in self:
            key = _new_name(key)
        super().__setitem__(key, value)


def default_of(declaration: Declaration) -> Settings:
    """Returns an unlocked config with the default of every setting."""
    config = Settings()
    for name, declared in declaration.items():
        if not isinstance(declared, Setting):
            config[name] = default_of(declared)
        elif declared.any_type:
            config[name] = FieldReference(declared.default, field_type=object)
        else:
            config[name] = declared.default
    return config


def declared_settings(declaration: Declaration, prefix: str = "") -> Iterator[tuple[str, Setting]]:
    """Yields the name `section.name` and the declaration of each setting, in order."""
    for name, declared in declaration.items():
        if isinstance(declared, Setting):
            yield f"{prefix}{name}", declared
        else:
            yield from declared_settings(declared, f"{prefix}{name}.")


def check_values(config: ConfigDict, declaration: Declaration) -> None:
    """Checks that no setting is missing, and that every value is among its setting's choices and within its range.

    Raises:
      UserError: if a setting is missing, or a value is not allowed. For a value, the message names the setting, its
        value and the allowed values.
    """
    missing = {name for name, _ in declared_settings(declaration)} - set(field_names(config))
    if missing:
        raise UserError(
            f"config.{min(missing)} is missing, so the config belongs to another command or to another version of "
            "sid_jax; start from default_config()"
        )
    for name, setting in declared_settings(declaration):
        setting.check(name, field_value(config, name))


def fill(config: ConfigDict, content: dict[str, Any]) -> ConfigDict:
    """Fills a config with the values of a saved config; raises KeyError for a field that the config lacks.

    Earlier names are accepted, and settings that only earlier versions have are ignored. If an earlier version saved
    the config without a setting, the setting gets the value that reproduces the behavior of that version.
    """
    saved = {_current(name): value for name, value in _flat(content).items() if _last(name) not in _REMOVED}
    for name in field_names(config):
        for ending, value in _BEFORE.items():
            if name not in saved and f".{name}".endswith(f".{ending}"):
                saved[name] = value
    for name, value in saved.items():
        set_field(config, name, tuple(value) if isinstance(value, list) else value)
    return config


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns the name, the old value and the new value of each field that differs between two configs (dicts)."""
    left, right = _flat(old), _flat(new)
    for values in (left, right):
        # A saved config has lists instead of tuples.
        values.update({name: tuple(value) for name, value in values.items() if isinstance(value, list)})
    return [(name, left.get(name), right.get(name)) for name in {**left, **right} if left.get(name) != right.get(name)]


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
    # In a copied config, a field accepts only values of its current type. A setting that is "auto" must still accept a
    # number.
    with section.ignore_type() if section[field] == AUTO else contextlib.nullcontext():
        section[field] = value


def set_by_name(config: ConfigDict, name: str, value: Any) -> None:
    """Sets a setting by its full name, "train.learning_rate", or by "learning_rate" if the name is unique.

    An earlier name is accepted, with a warning. NumPy numbers, lists and paths are converted to numbers, tuples and
    text.

    Raises:
      UserError: if no setting or several settings have the name, or the value has another type.
    """
    full_name = _full_name(config, name)
    old, value = field_value(config, full_name), _plain(value)
    if (isinstance(old, int) or old == AUTO) and isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        if value is None or (old == AUTO and isinstance(value, str) and value != AUTO):
            raise TypeError(f"a setting cannot be None, and a setting that is {AUTO!r} can only be set to a number")
        set_field(config, full_name, value)
    except (TypeError, ValueError) as error:
        wanted = f"a number, or {AUTO!r}" if old == AUTO else f"of type {type(old).__name__}, as in {old!r}"
        raise UserError(f"{full_name} is {value!r}; it must be {wanted}") from error


def renamed_flag(argument: str) -> str:
    """Returns `--config.section.name=value` with the setting's current name; warns if the name is an earlier one."""
    flag, equals, value = argument.partition("=")
    section, dot, name = flag.rpartition(".")
    if not flag.lstrip("-").startswith("config.") or name not in RENAMED:
        return argument
    return f"{section}{dot}{_new_name(name)}{equals}{value}"


def refuse_arguments_of_fit(names: Iterable[str]) -> None:
    """Raises UserError if one of the names of settings is an argument of `fit` instead."""
    for name in names:
        if name in ("workdir", "verbose"):
            raise UserError(f"{name} is an argument of fit(), not a setting; pass it to fit()")


def choose(
    arg: str, methods: Sequence[str], options: Sequence[str], *, one_of: Sequence[str] = ()
) -> tuple[str, set[str]]:
    """Parses a preset's argument such as "gumbel,quick" into its method (the first method by default) and its options.

    Raises:
      UserError: if a word is unknown, if two methods are given, or if two of the options `one_of` are given.
    """
    words = [word for word in arg.split(",") if word]
    named = [word for word in words if word in methods]
    unknown = [word for word in words if word not in (*methods, *options)]
    if unknown or len(named) > 1:
        raise UserError(
            f"unknown argument {arg!r}; it must be one of {', '.join(methods)}, optionally with {', '.join(options)} "
            "after a comma"
        )
    if len(set(words) & set(one_of)) > 1:
        raise UserError(f"argument {arg!r}: only one of {', '.join(one_of)} can be given; omit the others")
    return (named or [methods[0]])[0], set(words) - set(named)


def _limits(least: float, most: float, before: str = "") -> str:
    if math.isinf(most):
        return "above 0" if least == _TINY else f"{least:g} or more"
    return f"above 0, at most {most:g}" if least == _TINY else f"{before}{least:.10g} to {most:.10g}"


def _full_name(config: ConfigDict, name: str) -> str:
    known = field_names(config)
    if _last(name) in RENAMED and name not in known:
        name = name[: len(name) - len(_last(name))] + _new_name(_last(name))
    if name in known:
        return name
    found = [each for each in known if each.endswith(f".{name}")]
    if len(found) > 1:
        raise UserError(f"the setting {name} is ambiguous; write {' or '.join(found)}")
    if not found:
        names = {_last(each): each for each in known} | {each: each for each in known}
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {names[close[0]]}?" if close else "; docs/settings.md lists all settings"
        raise UserError(f"there is no setting {name}{hint}")
    return found[0]


def _plain(value: Any) -> Any:
    """Converts NumPy numbers, lists and paths to Python numbers, tuples and text."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value


def _new_name(name: str) -> str:
    new = RENAMED[name]
    # The warning names the line of the user's assignment. Between that line and this function, the call stack has
    # `Settings.__setitem__` and ConfigDict's attribute access.
    warnings.warn(
        f"the setting {name} has been renamed to {new}; {name} is accepted for one more version of sid_jax",
        RenamedSettingWarning,
        stacklevel=4,
    )
    return new


def _current(name: str) -> str:
    section, dot, last = name.rpartition(".")
    return f"{section}{dot}{RENAMED.get(last, last)}"


def _last(name: str) -> str:
    return name.rpartition(".")[2]


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
