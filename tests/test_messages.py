import io
import logging
import re

import pytest
from rich.console import Console
from rich.table import Table

from sid_jax import messages
from sid_jax.messages import Messages, time_left


@pytest.fixture
def logger(monkeypatch):
    """The logger of a process in which logging is not configured."""
    bare = logging.Manager(logging.RootLogger(logging.WARNING)).getLogger("sid_jax")
    monkeypatch.setattr(messages, "LOGGER", bare)
    messages._log_console.cache_clear()
    return bare


def _table() -> Table:
    table = Table(title="figures")
    table.add_column("name")
    table.add_row("R2 [bold]")
    return table


def test_a_line_is_printed_as_it_is_and_a_shown_string_is_markup():
    console = Console(file=io.StringIO(), width=20)
    written = Messages.to_console(console)
    written.line("a [bold] line that is longer than the console is wide")
    written.show("a [bold]bold[/bold] word")
    assert console.file.getvalue().splitlines() == [
        "a [bold] line that is longer than the console is wide",
        "a bold word",
    ]


def test_verbose_messages_are_logged_at_info_and_reach_standard_error(logger, capsys):
    logged = Messages.to_logging()
    logged.line("7 items [bold]")
    logged.show(_table())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "7 items [bold]\n"
    Messages.to_logging()
    assert len(logger.handlers) == 1


def test_tables_are_logged_at_debug(logger, caplog):
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.DEBUG)
    Messages.to_logging().show(_table())
    (record,) = caplog.records
    assert record.levelname == "DEBUG" and "figures" in record.getMessage() and "R2" in record.getMessage()


def test_a_default_handler_of_the_root_logger_does_not_print_lines_twice(logger, capsys):
    logger.parent.addHandler(logging.StreamHandler())
    Messages.to_logging().line("once")
    assert capsys.readouterr().err == "once\n"


def test_without_verbose_nothing_is_printed_even_after_a_verbose_caller(logger, capsys):
    Messages.to_logging().line("seen")
    quiet = Messages.to_logging(verbose=False)
    quiet.line("unseen")
    quiet.show(_table())
    with quiet.progress("training", 10) as bar:
        bar.move(5, "half")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "seen\n"


def test_a_callers_own_handler_gets_the_records_and_nothing_is_added(logger, caplog):
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.DEBUG)
    Messages.to_logging().line("one")
    Messages.to_logging(verbose=False).line("two")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", "one"), ("DEBUG", "two")]
    assert logger.handlers == [caplog.handler]


def test_a_commands_warnings_are_lines_of_standard_error(capsys):
    Messages.to_console().warn("7 rows are dropped [bold]")
    Messages.to_console(Console(quiet=True)).warn("not said")
    assert capsys.readouterr() == ("", "warning: 7 rows are dropped [bold]\n")
    recording = Console(file=io.StringIO(), width=20)
    Messages.to_console(recording).warn("a line that is longer than the console is wide")
    assert recording.file.getvalue() == "warning: a line that is longer than the console is wide\n"


@pytest.mark.parametrize("verbose", [True, False])
def test_warnings_of_python_calls_are_logged_at_warning(logger, caplog, verbose):
    logger.addHandler(caplog.handler)
    Messages.to_logging(verbose=verbose).warn("7 rows are dropped")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", "7 rows are dropped")]


def test_logged_warnings_are_printed_with_their_level(logger, capsys):
    Messages.to_logging().warn("7 rows are dropped")
    assert capsys.readouterr() == ("", "warning: 7 rows are dropped\n")


def test_silent_messages_are_neither_printed_nor_logged(logger, caplog, capsys):
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.DEBUG)
    silent = Messages.silent()
    silent.line("text")
    silent.warn("text")
    silent.show(_table())
    with silent.progress("training", None) as bar:
        bar.move(1)
    assert not caplog.records
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_drawn_on_a_terminal_only(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with Messages.to_console(console).progress("training [x]", 10, completed=3) as bar:
        bar.move(5, "loss [1.0]")
    text = console.file.getvalue()
    assert ("training [x]" in text and "50%" in text and "loss [1.0]" in text) == terminal
    assert terminal or not text


def test_without_a_terminal_progress_is_a_line_every_half_minute_with_the_time_left(monkeypatch):
    console, seconds = Console(file=io.StringIO(), width=100), iter([0.0, 10.0, 11.0, 12.0, 20.0, 45.0, 70.0, 999.0])
    monkeypatch.setattr(messages.time, "monotonic", lambda: next(seconds))
    with Messages.to_console(console).progress(" testing [x]", 2000) as bar:
        for completed in (100, 130, 140, 300, 800, 1300, 2000):
            bar.move(completed)
    # The time is measured from the first call of `move`. The first line follows two seconds later: 40 items have taken
    # 2 s, so the remaining 1,860 items take 93 s. At the second line, 700 items have taken 35 s, so the other 1,200
    # take 60 s. The next call of `move` is only 25 s later.
    assert console.file.getvalue().splitlines() == [
        "testing [x]: 140 of 2,000  about 93 s left",
        "testing [x]: 800 of 2,000  about 60 s left",
    ]


def test_a_wait_of_a_few_seconds_is_not_announced(monkeypatch):
    console, seconds = Console(file=io.StringIO(), width=100), iter([0.0, 1.0, 3.0, 4.0, 5.0])
    monkeypatch.setattr(messages.time, "monotonic", lambda: next(seconds))
    with Messages.to_console(console).progress("testing", 8) as bar:
        for completed in (2, 4, 6, 8):
            bar.move(completed)
    assert console.file.getvalue() == ""


def test_a_closing_table_has_text_that_is_no_markup():
    console = Console(file=io.StringIO(), width=60)
    Messages.to_console(console).closing("Items of [x]", [("R^2 of [a]", "0.5", "1: exact")])
    assert all(text in console.file.getvalue() for text in ("Items of [x]", "R^2 of [a]", "0.5", "1: exact"))


@pytest.mark.parametrize(
    ("done", "total", "seconds", "words"),
    [
        (0, 10, 3.0, ""),
        (10, 10, 3.0, ""),
        (9, 10, 9.0, ""),
        (2, 10, 4.0, "about 16 s left"),
        (1, 10, 40.0, "about 6 min left"),
    ],
)
def test_the_time_left_is_extrapolated_and_not_said_when_short(done, total, seconds, words):
    assert time_left(done, total, seconds) == words


@pytest.mark.parametrize(("environment", "styled"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_tables_fit_a_narrow_terminal_and_follow_no_color(monkeypatch, environment, styled):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TERM", "xterm-256color")
    console = Console(file=io.StringIO(), force_terminal=True, width=60)
    table = Table(title="[red]metrics of a long title[/red]")
    for name in ("metric", "value", "note"):
        table.add_column(name)
    table.add_row("reconstruction R^2 of the whole catalog", "0.5418", "a note that is longer than its column")
    Messages.to_console(console).show(table)
    text = console.file.getvalue()
    assert ("\x1b[31m" in text or "31m" in text) == styled
    assert max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in text.splitlines()) <= 60
