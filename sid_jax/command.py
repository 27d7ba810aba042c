"""Common code of all commands: parses flags, calls the library, and prints user errors as one line."""

from __future__ import annotations

import atexit
import difflib
import gc
import logging as standard_logging
import os
import re
import sys
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
from sid_jax.help_text import FULL_HELP_FLAGS, HELP_FLAGS, help_text
from sid_jax.settings import Declaration, RenamedSettingWarning, Setting, declared_settings, renamed_flag
from sid_jax.standard_streams import keep_working_streams, print_warning

_DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def config_flag(names: Iterable[str]) -> flags.FlagHolder[ConfigDict]:
    """Defines the required flag --config: a preset, or a file with `get_config(arg)`.

    Args:
      names: the command's presets, which the help of the flag lists.
    """
    about = f"Preset ({', '.join(names)}), or .py file with get_config(arg). NAME:ARG sets arg."
    config = config_flags.DEFINE_config_file("config", None, about)
    flags.mark_flag_as_required("config")
    return config


def run(main: Callable[[], None], about: str | None, settings: Declaration | None = None) -> None:
    """Parses the flags and calls `main`. An error is printed as one line on standard error; the exit status is then 1.

    --help prints `about` (the docstring of the command's module), the flags, and, if the command has a config, the
    names of its settings. --helpfull also describes the settings.
    """

    def without_words(words: list[str]) -> None:
        if words:
            raise UserError(f"{words[0]!r} is not a flag; write a setting as --config.NAME=VALUE")
        main()

    run_with_words(without_words, about, settings)


def run_with_words(main: Callable[[list[str]], None], about: str | None, settings: Declaration | None = None) -> None:
    """Does the same as `run` for a command with positional arguments, which may be before or after the flags."""
    signals.end_at_once()
    signals.ignore_when_ending()
    keep_working_streams()
    keep_compiled_programs()
    # Tracing and compiling allocate many long-lived objects. Python's default, a garbage collection every 700
    # allocations, takes a tenth of a short run's CPU time.
    gc.set_threshold(10_000, 20, 20)
    # At its end, Python searches all objects for cycles, which takes most of a second. The operating system frees the
    # memory anyway.
    atexit.register(gc.freeze)
    # Models and IDs are computed in 32 bits, even if the user's environment enables 64 bits for other programs.
    os.environ["JAX_ENABLE_X64"] = "0"
    # Libraries log a lot, even the errors that they raise, so their logs are hidden. The warnings of this package are
    # printed.
    logging.set_verbosity(logging.FATAL)
    _print_own_warnings()
    for name in ("asyncio", "jax._src.xla_bridge"):
        standard_logging.getLogger(name).setLevel(standard_logging.CRITICAL)
    warnings.showwarning = _one_line(warnings.showwarning)
    flags.FLAGS.set_gnu_getopt(True)
    declared = dict(declared_settings(settings)) if settings else {}

    def call(argv: Sequence[str]) -> None:
        _guarded(main, argv)
        sys.stdout.flush()
        # Only JAX's cleanup is left. Without this call, a signal during the cleanup would print a traceback.
        signals.end_at_once(0)

    app.run(call, flags_parser=lambda argv: _parse(argv, about or "", declared))


def refuse_empty(*holders: flags.FlagHolder[str | None]) -> None:
    """Raises a UserError if a path flag has an empty value. Without this check, the flag would be ignored."""
    for holder in holders:
        if holder.value == "":
            raise UserError(
                f"--{holder.name} is empty, perhaps because a variable is not set; give a path, or omit --{holder.name}"
            )


def _guarded(main: Callable[[list[str]], None], argv: Sequence[str]) -> None:
    """Calls `main`, and reports any failure by the exit status and at most one line on standard error.

    With --debug, it also prints the traceback of an error.
    """
    try:
        with signals.stopping():
            main(list(argv[1:]))
    except signals.Stopped as stopped:
        print(stopped, file=sys.stderr, flush=True)
        sys.exit(stopped.status)
    except Exception as error:  # Any other exception becomes a one-line message.
        if flags.FLAGS.is_parsed() and _DEBUG.value:
            traceback.print_exc()
        _leave(in_one_line(error))


def _parse(argv: list[str], about: str, settings: Mapping[str, Setting]) -> list[str]:
    asked = set(argv[1:])
    if asked & {*HELP_FLAGS, *FULL_HELP_FLAGS}:
        print(help_text(about, settings, full=bool(asked & set(FULL_HELP_FLAGS))))
        sys.exit(0)
    try:
        suitable = presets.RECOMMENDER if "quantizer.data.source" in settings else presets.QUANTIZER
        # `argv` is `sys.argv`. It is changed in place, since the flag --config reads its settings from `sys.argv`.
        argv[1:] = _current_words(argv, suitable)
        return flags.FLAGS(argv)
    except UserError as error:
        _leave(str(error))
    except flags.UnrecognizedFlagError as error:
        _leave(_unknown_field(argv, list(settings)) or f"{error}{_own_name(error.flagname, settings)}{_example(about)}")
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        _leave(_unknown_field(argv, list(settings)) or _missing_flag(str(error)) or _last_line(error))
    except Exception as error:  # A config file is a program, which may raise anything.
        _leave(f"--config cannot be loaded: {type(error).__name__}: {reason(error)}")


def _current_words(argv: Sequence[str], suitable: Iterable[str]) -> list[str]:
    """Returns the arguments after the program name, with renamed settings updated and presets replaced by config files.

    A preset such as --config=ml100k:gumbel becomes the path of `sid_jax.presets` followed by ":ml100k:gumbel", and
    `get_config` of that file receives "ml100k:gumbel".
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
            raise UserError(
                f"the preset {name} belongs to another command; the presets of this command are {', '.join(suitable)}"
            )
        if name and not name.endswith(".py") and "/" not in name:
            words[place] = f"{flag}{equals}{presets.__file__}:{value}"
    return words


class _WarningPrinter(standard_logging.Handler):
    """Prints each log record as one line on standard error."""

    def emit(self, record: standard_logging.LogRecord) -> None:
        print_warning(record.getMessage())


def _print_own_warnings() -> None:
    """Makes the logger "sid_jax" print warnings.

    The logger gets its own level and handler, since the root logger's level hides all warnings.
    """
    logger = standard_logging.getLogger("sid_jax")
    logger.addHandler(_WarningPrinter())
    logger.setLevel(standard_logging.WARNING)
    logger.propagate = False


def _one_line(show: Callable[..., None]) -> Callable[..., None]:
    """Wraps `warnings.showwarning` to print this package's warnings as one line, without the line of source code."""

    def show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, (RenamedSettingWarning, DeviceWarning)):
            print_warning(str(message))
        else:
            show(message, category, *where, **more)

    return show_warning


def _unknown_field(argv: Sequence[str], known: Sequence[str]) -> str | None:
    """Returns an error message for the first unknown `--config.a.b`, or None if all are known."""
    for argument in argv:
        name = argument.lstrip("-").partition("=")[0]
        if not name.startswith("config.") or name.removeprefix("config.") in known:
            continue
        name = name.removeprefix("config.")
        section = name.rpartition(".")[0]
        beside = [each for each in known if each.rpartition(".")[0] == section] or known
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean config.{close[0]}?" if close else ""
        return f"there is no setting config.{name}{hint}; the settings of this section are {', '.join(beside)}"
    return None


def _own_name(flag: str, settings: Iterable[str]) -> str:
    """Returns this command's flag for a file of item ids, if `flag` is that of another command; "" otherwise."""
    if flag not in ("vector_ids", "input_ids", "ids_path"):
        return ""
    own = [name for name in ("vector_ids", "input_ids") if name in flags.FLAGS]
    own += [f"config.{name}" for name in settings if name.endswith("data.ids_path")]
    return f"; in this command, --{own[0]} gives the file of item ids" if own else ""


def _example(about: str) -> str:
    """Returns the first example in a command's help, as the end of an error message; "" if there is none."""
    found = re.search(r"^ +(sid-jax .+)$", about, re.MULTILINE)
    return f"; an example of this command is: {found[1]}" if found else ""


def _missing_flag(message: str) -> str:
    """Returns the message for a required flag that was not given, or "" for any other error."""
    found = re.match(r"flag --(\w+)=None: .* must have a value other than None", message)
    return f"--{found[1]} is missing; --help lists the flags" if found else ""


def _last_line(error: Exception) -> str:
    """Returns an error's text; for a text of several lines, such as a traceback, a message with its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) < 2:
        return str(error)
    hint = "; give an existing file, or the name of a preset, such as --config=embeddings"
    return f"--config cannot be loaded: {lines[-1]}{hint if 'No such file' in lines[-1] else ''}"


def _leave(message: str) -> NoReturn:
    # A library's thread may still be printing. The pause lets it finish, so that the message has a line of its own.
    time.sleep(0.1)
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    # The process exits without cleanup. During a cleanup after a failed save of a checkpoint, a library's threads would
    # print tracebacks.
    os._exit(1)
