"""How every command begins and ends: flags in, the library called, one clear line on a user's mistake."""

from __future__ import annotations

import difflib
import logging as standard_logging
import os
import sys
import textwrap
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from sid_jax import presets, signals
from sid_jax.cache import keep_compiled_programs
from sid_jax.errors import DeviceWarning, UserError, reason
from sid_jax.failures import in_one_line
from sid_jax.settings import Declaration, RenamedSettingWarning, Setting, declared_settings, renamed_flag
from sid_jax.standard_streams import keep_working_streams

_DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of what went wrong, besides the line that says it.")

_WIDTH = 100


def config_flag(names: Iterable[str]) -> flags.FlagHolder[ConfigDict]:
    """Defines the flag --config, which a command must be given: a preset, or a file with `get_config(arg)`.

    Args:
      names: the presets that suit the command, for its help.
    """
    about = f"A preset ({', '.join(names)}), or a .py file with get_config(arg); the argument comes after a colon."
    config = config_flags.DEFINE_config_file("config", None, about)
    flags.mark_flag_as_required("config")
    return config


def run(main: Callable[[], None], about: str | None, settings: Declaration | None = None) -> None:
    """Parses the flags and calls `main`; a mistake of the user's ends in one line on standard error and status 1.

    --help begins with `about`, the docstring of the command's module, and lists the settings of its config, if any.
    """

    def without_words(words: list[str]) -> None:
        if words:
            raise UserError(f"{words[0]!r} is not a flag; a setting is --config.name=value")
        main()

    run_with_words(without_words, about, settings)


def run_with_words(main: Callable[[list[str]], None], about: str | None, settings: Declaration | None = None) -> None:
    """As `run`, for a command that takes words which are no flags, before or after those that are."""
    signals.end_at_once()
    signals.ignore_when_ending()
    keep_working_streams()
    keep_compiled_programs()
    # Models and IDs are those of 32 bits, whatever the user's other programs want of JAX.
    os.environ["JAX_ENABLE_X64"] = "0"
    # Libraries say a good deal, and log what they raise; what a person should see goes to the console.
    logging.set_verbosity(logging.FATAL)
    for name in ("asyncio", "jax._src.xla_bridge"):
        standard_logging.getLogger(name).setLevel(standard_logging.CRITICAL)
    warnings.showwarning = _one_line(warnings.showwarning)
    flags.FLAGS.set_gnu_getopt(True)
    declared = dict(declared_settings(settings)) if settings else {}

    def call(argv: Sequence[str]) -> None:
        _guarded(main, argv)
        sys.stdout.flush()
        # What is left is JAX's tidying up, which a signal would end with a traceback.
        signals.end_at_once(0)

    app.run(call, flags_parser=lambda argv: _parse(argv, about or "", declared))


def _guarded(main: Callable[[list[str]], None], argv: Sequence[str]) -> None:
    """Calls `main`; however it ends, the exit status and at most one line on standard error say it."""
    try:
        with signals.stopping():
            main(list(argv[1:]))
    except signals.Stopped as stopped:
        print(stopped, file=sys.stderr, flush=True)
        sys.exit(stopped.status)
    except Exception as error:  # The one place where an exception of any kind becomes a line.
        if flags.FLAGS.is_parsed() and _DEBUG.value:
            traceback.print_exc()
        _leave(in_one_line(error))


def _parse(argv: list[str], about: str, settings: Mapping[str, Setting]) -> list[str]:
    if any(word in ("--help", "-help", "-h") for word in argv[1:]):
        print(_help(about, settings))
        sys.exit(0)
    try:
        suitable = presets.RECOMMENDER if "quantizer.data.source" in settings else presets.QUANTIZER
        # In place: the config's flag looks its settings up in sys.argv.
        argv[1:] = _current_words(argv, suitable)
        return flags.FLAGS(argv)
    except UserError as error:
        _leave(str(error))
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        _leave(_unknown_field(argv, list(settings)) or _last_line(error))
    except Exception as error:  # A config file is a program, which may raise anything.
        _leave(f"--config cannot be loaded: {type(error).__name__}: {reason(error)}")


def _current_words(argv: Sequence[str], suitable: Iterable[str]) -> list[str]:
    """Returns the words after the first, with settings' new names, and a preset as a file with an argument.

    --config=ml100k:gumbel becomes the path of `sid_jax.presets`, whose `get_config` takes "ml100k:gumbel".
    """
    words = [renamed_flag(word) for word in argv[1:]]
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if place and words[place - 1] in ("--config", "-config"):
            flag, equals, value = "", "", word
        elif flag not in ("--config", "-config"):
            continue
        name = value.partition(":")[0]
        if name in presets.PRESETS and name not in suitable:
            raise UserError(f"the preset {name} is for another command; for this one there are {', '.join(suitable)}")
        if name and not name.endswith(".py") and "/" not in name:
            words[place] = f"{flag}{equals}{presets.__file__}:{value}"
    return words


def _help(about: str, settings: Mapping[str, Setting]) -> str:
    """Returns the command's own flags, and then its settings."""
    lines = [about.strip(), "", "Flags:"]
    by_module = flags.FLAGS.flags_by_module_dict()
    # The flags of several processes, which few need, come last.
    for module, defined in sorted(by_module.items(), key=lambda each: each[0].endswith(".processes")):
        if module.startswith("sid_jax") or module == sys.argv[0]:
            for flag in sorted(defined, key=lambda flag: flag.name == _DEBUG.name):
                default = "" if flag.default in (None, "", []) else f" Default: {flag.default_as_str}."
                lines += [f"  --{flag.name}", *_indented(f"{flag.help}{default}")]
    if settings:
        lines += ["", "Settings, as in --config.train.batch_size=512:"]
    for name, setting in settings.items():
        allowed = f" ({setting.allowed()})" if setting.allowed() and len(setting.allowed()) < _WIDTH else ""
        lines += [f"  --config.{name}={setting.default}", *_indented(setting.meaning + allowed)]
    return "\n".join(lines)


def _indented(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _one_line(show: Callable[..., None]) -> Callable[..., None]:
    """Returns `warnings.showwarning` such that a warning of ours is one line, without the code that it comes from."""

    def show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, (RenamedSettingWarning, DeviceWarning)):
            print(f"warning: {message}", file=sys.stderr, flush=True)
        else:
            show(message, category, *where, **more)

    return show_warning


def _unknown_field(argv: Sequence[str], known: Sequence[str]) -> str | None:
    """Returns what is wrong with the first `--config.a.b` that no config has, or None if all are known."""
    for argument in argv:
        name = argument.lstrip("-").partition("=")[0]
        if not name.startswith("config.") or name.removeprefix("config.") in known:
            continue
        name = name.removeprefix("config.")
        section = name.rpartition(".")[0]
        beside = [each for each in known if each.rpartition(".")[0] == section] or known
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean config.{close[0]}?" if close else ""
        return f"there is no config.{name}{hint} Known here: {', '.join(beside)}"
    return None


def _last_line(error: Exception) -> str:
    """Returns the line that matters: a config file that cannot be loaded comes with a traceback, which ends in it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"--config cannot be loaded: {lines[-1]}" if len(lines) > 1 else str(error)


def _leave(message: str) -> NoReturn:
    # A library's thread may be in the middle of a line of its own: the message is to stand on one by itself.
    time.sleep(0.1)
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    # At once: a library's threads, on their way out of a save that failed, would print tracebacks of their own.
    os._exit(1)
