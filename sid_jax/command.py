"""How every command begins and ends: flags in, the library called, one clear line on a user's mistake."""

from __future__ import annotations

import difflib
import logging as standard_logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging

from sid_jax.cache import keep_compiled_programs
from sid_jax.errors import UserError


def run(main: Callable[[], None], known: Sequence[str]) -> None:
    """Parses the flags and calls `main`; a mistake of the user's ends in one line on standard error and status 1.

    Args:
      main: what the command does.
      known: the config's fields, as `sid_jax.settings.field_names` returns them.
    """

    def without_words(words: list[str]) -> None:
        if words:
            raise UserError(f"{words[0]!r} is not a flag; a setting is --config.name=value")
        main()

    run_with_words(without_words, known)


def run_with_words(main: Callable[[list[str]], None], known: Sequence[str]) -> None:
    """As `run`, for a command that takes words which are no flags."""
    keep_compiled_programs()
    # Libraries say a good deal, and log what they raise; what a person should see goes to the console.
    logging.set_verbosity(logging.FATAL)
    standard_logging.getLogger("asyncio").setLevel(standard_logging.CRITICAL)
    app.run(lambda argv: _guarded(main, argv), flags_parser=lambda argv: _parse(argv, known))


def _guarded(main: Callable[[list[str]], None], argv: Sequence[str]) -> None:
    try:
        main(list(argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except UserError as error:
        _leave(str(error))
    except OSError as error:
        # A full disk, a folder without permission: the system's own words, and where.
        _leave(f"{error.strerror}: {error.filename}" if error.strerror else _last_line(error))


def _parse(argv: Sequence[str], known: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except UserError as error:
        _leave(str(error))
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        _leave(_unknown_field(argv, known) or _last_line(error))


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
