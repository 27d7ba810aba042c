"""Prints messages and progress bars on a console, logs them through `logging`, or discards them."""

from __future__ import annotations

import functools
import io
import logging
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from sid_jax.buckets.names import with_addresses
from sid_jax.standard_streams import WARNING, print_warning

LOGGER = logging.getLogger("sid_jax")
# Remaining times below this number of seconds are not printed.
_SHORT = 5.0
# If no bar is drawn, progress is printed as lines. `_BEFORE_ESTIMATE` is the number of seconds of measured progress
# before the line with the first estimate of the remaining time. `_BETWEEN_LINES` is the number of seconds between two
# other lines.
_BEFORE_ESTIMATE, _BETWEEN_LINES = 2.0, 30.0


class Messages:
    """Prints lines, warnings, tables and progress bars. Make an instance with `to_console`, `to_logging` or `silent`.

    Args:
      show: a function that prints a rich renderable. Its second argument says whether a string is rich markup.
      console: where progress bars are drawn; None for no progress.
      warn: a function that prints the text of a warning; None to print it with `show`, after the word "warning".
    """

    def __init__(
        self,
        show: Callable[[RenderableType, bool], None],
        console: Console | None,
        warn: Callable[[str], None] | None = None,
    ):
        self._show, self._console = show, console
        self._warn = warn or (lambda text: show(f"{WARNING}{text}", False))

    @classmethod
    def to_console(cls, console: Console | None = None) -> Messages:
        """Returns an instance that prints to a console, by default to standard output. Commands use it.

        If the console is on standard output, warnings are printed to standard error.
        """
        console = console or Console()

        def show(renderable: RenderableType, markup: bool) -> None:
            unwrapped = isinstance(renderable, str)
            console.print(renderable, markup=markup, highlight=False, soft_wrap=unwrapped)

        def warn(text: str) -> None:
            if console.file is not sys.stdout:
                show(f"{WARNING}{text}", False)
            elif not console.quiet:
                print_warning(text)

        return cls(show, console, warn)

    @classmethod
    def to_logging(cls, verbose: bool = True) -> Messages:
        """Returns an instance that logs to the logger "sid_jax". Functions that are called from Python use it.

        Args:
          verbose: True logs lines at level INFO, and shows progress bars. It also prints the log to standard error (in
            Jupyter, below the cell) unless the caller has configured logging for that level. False logs at level DEBUG,
            and shows no progress. Tables are always logged at level DEBUG, since callers get the numbers as return
            values. Warnings are always logged at level WARNING.
        """
        if verbose:
            _print_unless_configured()

        def show(renderable: RenderableType, markup: bool) -> None:
            level = logging.INFO if verbose and not markup else logging.DEBUG
            if LOGGER.isEnabledFor(level):
                LOGGER.log(level, "%s", _as_text(renderable, markup))

        return cls(show, _log_console() if verbose else None, lambda text: LOGGER.warning("%s", text))

    @classmethod
    def silent(cls) -> Messages:
        """Returns an instance that prints nothing."""
        return cls(lambda renderable, markup: None, None)

    def line(self, text: str) -> None:
        """Prints a line of plain text, without wrapping or markup."""
        self._show(with_addresses(text), False)

    def warn(self, text: str) -> None:
        """Prints a warning as one line that begins with "warning: "."""
        self._warn(with_addresses(text))

    def show(self, renderable: RenderableType) -> None:
        """Prints a table or another rich renderable; a string is rich markup."""
        self._show(renderable, True)

    def closing(self, title: str, rows: Iterable[tuple[str, str, str]]) -> None:
        """Prints the table at the end of a command; rows are names, values and notes, in plain text."""
        table = Table(title=escape(with_addresses(title)), title_justify="left")
        table.add_column("metric")
        table.add_column("value", justify="right")
        table.add_column("note")
        for row in rows:
            table.add_row(*map(escape, row))
        self.show(table)

    def progress(
        self, title: str, total: int | None, *, completed: int = 0, transient: bool = False
    ) -> ProgressDisplay:
        """Returns a progress bar as a context manager.

        The bar is drawn on a terminal and in Jupyter. Elsewhere, a line with the remaining time is printed at most
        every half minute.

        Args:
          title: text before the bar.
          total: the number at which the bar is full; None if unknown.
          completed: the number at the start.
          transient: whether to remove the bar at the end.
        """
        return ProgressDisplay(self._console, self.line, title, total, completed, transient)


def time_left(done: int, total: int, seconds: float) -> str:
    """Returns the estimated remaining time as text; "" if it is unknown or below five seconds.

    Args:
      done: number of finished steps.
      total: number of all steps, including the finished ones.
      seconds: the time that the finished steps took.
    """
    left = seconds / done * (total - done) if done else 0.0
    if left < _SHORT:
        return ""
    return f"about {left:.0f} s left" if left < 120 else f"about {left / 60:.0f} min left"


class ProgressDisplay:
    """Shows progress and the remaining time, as a bar or as lines; see `Messages.progress`."""

    def __init__(
        self,
        console: Console | None,
        line: Callable[[str], None],
        title: str,
        total: int | None,
        completed: int,
        transient: bool,
    ):
        drawn = console is not None and (console.is_terminal or console.is_jupyter)
        self._line, self._title, self._total = None if drawn or console is None else line, title.strip(), total
        # The value of `completed` and the time at the first update. The time before the first update is mostly
        # compilation, and is not counted.
        self._first: tuple[int, float] | None = None
        self._printed, self._estimated = time.monotonic(), False
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}", markup=False),
            console=console,
            disable=not drawn,
            transient=transient,
        )
        self._task = self._progress.add_task(title, total=total, completed=completed, shown="")

    def __enter__(self) -> ProgressDisplay:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def move(self, completed: int, shown: str = "") -> None:
        """Moves the bar to a number, and sets the text to its right."""
        self._progress.update(self._task, completed=completed, shown=shown)
        now = time.monotonic()
        first, began = self._first = self._first or (completed, now)
        if self._line is None or self._total is None or completed >= self._total:
            return
        left = time_left(completed - first, self._total - first, now - began)
        is_first_estimate = bool(left) and not self._estimated and now - began >= _BEFORE_ESTIMATE
        if not is_first_estimate and now - self._printed < _BETWEEN_LINES:
            return
        self._printed, self._estimated = now, self._estimated or bool(left)
        self._line(f"{self._title}: {completed:,} of {self._total:,}  {left}".rstrip())


class _ConsoleHandler(logging.Handler):
    """Prints log records with the console of the progress bars, so that records and bars do not overlap."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = WARNING if record.levelno == logging.WARNING else ""
        _log_console().print(prefix + self.format(record), markup=False, highlight=False, soft_wrap=True)


@functools.cache
def _log_console() -> Console:
    return Console(stderr=True)


def _print_unless_configured() -> None:
    # Handlers of the root logger are not checked, since importing Orbax adds one even if the caller has not configured
    # logging. The level is checked instead, since Orbax leaves the level at WARNING.
    if LOGGER.handlers or LOGGER.isEnabledFor(logging.INFO):
        return
    LOGGER.addHandler(_ConsoleHandler(logging.INFO))
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def _as_text(renderable: RenderableType, markup: bool) -> str:
    if isinstance(renderable, str) and not markup:
        return renderable
    written: Any = io.StringIO()
    Console(file=written, width=120, color_system=None, force_jupyter=False, force_terminal=False).print(
        renderable, highlight=False, soft_wrap=isinstance(renderable, str)
    )
    return "\n".join(line.rstrip() for line in written.getvalue().rstrip("\n").split("\n"))
