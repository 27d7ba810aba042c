"""Makes the text of `--help`: an example, the flags, and the names of the settings, which `--helpfull` describes."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping

from absl import flags

from sid_jax.settings import Setting

HELP_FLAGS = ("--help", "-help", "-h", "--helpshort", "-helpshort")
FULL_HELP_FLAGS = ("--helpfull", "-helpfull")
# Maximum and minimum length of lines, for any width of the terminal.
_LONGEST, _SHORTEST = 100, 60
# Widths of the columns with the flags' names, and with the settings' sections.
_FLAGS, _SECTIONS = 18, 12
# absl appends this to the help of a flag that may be repeated.
_OF_REPEATED = ";\n    repeat this option to specify a list of values"


def help_text(about: str, settings: Mapping[str, Setting], *, full: bool) -> str:
    """Returns the help of a command.

    Args:
      about: what the command does, with an example.
      settings: the settings of the command's config by name; empty for a command without a config.
      full: whether to describe each setting, instead of listing the names.
    """
    lines = [about.strip(), "", "Flags:"]
    for flag in _own_flags():
        lines += _row(f"--{flag.name}", f"{flag.help.removesuffix(_OF_REPEATED)}{_default(flag)}", _FLAGS)
    if not settings:
        return "\n".join(lines)
    if not full:
        lines += [
            "",
            *_wrapped("Settings, --config.SECTION.NAME=VALUE (described by --helpfull and docs/settings.md):"),
        ]
        return "\n".join(lines + _names(settings))
    lines += ["", "Settings, as in --config.train.batch_size=512:"]
    for name, setting in settings.items():
        allowed = f" ({setting.allowed()})" if setting.allowed() and len(setting.allowed()) < _LONGEST else ""
        lines += [f"  --config.{name}={setting.default}", *_wrapped(setting.meaning + allowed, indent=6)]
    return "\n".join(lines)


def _own_flags() -> list[flags.Flag]:
    """Returns the command's flags, without flags of libraries. The flags of multi-process runs and --debug are last."""
    by_module = flags.FLAGS.flags_by_module_dict()
    own = [(name, each) for name, defined in by_module.items() for each in defined if _is_own(name)]
    return [each for _, each in sorted(own, key=lambda of: (of[1].name == "debug", of[0].endswith(".processes")))]


def _is_own(module: str) -> bool:
    return module.startswith("sid_jax") or module == sys.argv[0]


def _default(flag: flags.Flag) -> str:
    if flag.default in (None, "", []) or flag.default is False:
        return ""
    return f" Default: {str(flag.default_as_str).strip(chr(39))}."


def _names(settings: Mapping[str, Setting]) -> list[str]:
    """Returns one row of setting names per section; the quantizer settings of a recommender are one row."""
    sections: dict[str, list[str]] = {}
    for name in settings:
        section, _, last = name.rpartition(".")
        if section.startswith("quantizer."):
            sections["quantizer"] = ["the settings of sid-jax train, for a quantizer that this run trains"]
        else:
            sections.setdefault(section, []).append(last)
    return [line for section, names in sections.items() for line in _row(section, ", ".join(names), _SECTIONS)]


def _row(name: str, text: str, width: int) -> list[str]:
    """Returns a name with its description to the right, or below the name if the name is long."""
    lines, start = _wrapped(text, indent=width), f"  {name} ".ljust(width)
    return [start.rstrip(), *lines] if len(start) > width else [start + lines[0].lstrip(), *lines[1:]]


def _wrapped(text: str, indent: int = 0) -> list[str]:
    width = min(_LONGEST, max(_SHORTEST, shutil.get_terminal_size((_LONGEST, 24)).columns))
    blanks = " " * indent
    return textwrap.wrap(" ".join(text.split()), width, initial_indent=blanks, subsequent_indent=blanks)
