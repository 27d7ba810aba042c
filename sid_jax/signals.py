"""Handles SIGINT, SIGTERM and SIGHUP in commands. A signal ends the command; training saves a checkpoint first."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

# Windows has no SIGHUP.
_NUMBERS = [signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGHUP") if name in signal.Signals.__members__]
# Delay in seconds before the exception of a signal is raised again after a library swallowed it. The exception is also
# delayed by this time while a module is being imported.
_AGAIN = 0.02


class Stopped(KeyboardInterrupt):
    """Raised when a signal stops the command; caught only in `sid_jax.command`, which ends the process.

    Attributes:
      status: the exit status of the command, 128 plus the signal's number: 130 for Ctrl-C and 143 for SIGTERM.
    """

    def __init__(self, number: int = signal.SIGTERM):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.status = 128 + number


# `_came` is the signal that is stopping the running command, or None. `_asked` is the last signal that interrupted a
# training run.
_came: int | None = None
_asked = int(signal.SIGTERM)
# `_ends_published` says whether publishing a folder completes the command's work. `_done` says whether the work is
# complete.
_ends_published, _done = False, False
# Whether a command is inside `stopping`.
_at_work = False


def end_at_once(status: int | None = None) -> None:
    """Makes signals end the process at once without a traceback, for times when nothing has to be saved.

    Args:
      status: the exit status; None for 128 plus the signal's number, or 0 if the work is done.
    """
    _handle(lambda number, _: os._exit((0 if _done else 128 + number) if status is None else status))


def ignore_when_ending() -> None:
    """Ignores signals while Python shuts down, when its handlers are gone and a signal would kill the process.

    Call it before other exit functions are registered, since exit functions run in reverse order.
    """
    atexit.register(_handle, signal.SIG_IGN)


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """Returns a context manager in which the first signal raises `Stopped`, so that unfinished output is removed.

    A second signal ends the process at once.
    """
    global _came, _ends_published, _done, _at_work
    before, hook = {number: signal.getsignal(number) for number in _NUMBERS}, sys.unraisablehook
    _came, _ends_published, _done, _at_work = None, False, False, True

    def not_swallowed(unraisable: Any) -> None:
        # Python drops exceptions that are raised in a callback of the garbage collector, and JAX has such a callback.
        if isinstance(unraisable.exc_value, Stopped):
            _raise_soon()
        else:
            hook(unraisable)

    sys.unraisablehook = not_swallowed
    _handle(_raise)
    try:
        yield
    finally:
        # `_done` is not reset. If the work is done, a later signal therefore ends the process with status 0.
        _came, _at_work, sys.unraisablehook = None, False, hook
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_publication() -> None:
    """Declares that the next publication of a folder completes the command's work.

    After that publication, a signal does not make the command fail.
    """
    global _ends_published
    _ends_published = True


def has_published() -> None:
    """Records, after the publication of a folder, whether the work is complete (see `end_with_publication`)."""
    global _done
    _done = _ends_published


def refuse_to_go_on() -> None:
    """Raises `Stopped` if a library swallowed the exception of a signal. Called before each publication."""
    if _came is not None and not _done:
        raise Stopped(_came)


def training_stopped() -> Stopped:
    """Returns the exception that reports an interrupted training run.

    Its signal is the one that this process received, or SIGTERM if only another process received a signal.
    """
    return Stopped(_asked)


class Interruption:
    """A context manager in which the first signal only sets `asked`.

    A second signal is handled as it would be outside the context, except that in a command it ends the process at once.
    Outside the main thread, where Python cannot set signal handlers, the context manager has no effect.
    """

    def __init__(self) -> None:
        self.asked = False
        self._came: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = _handle(self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def pass_on(self) -> None:
        """Raises the received signal again, if any. Call it after the context if the command has more work to do."""
        if self._came is not None and not (_at_work and _done):
            signal.raise_signal(self._came)

    def _ask(self, number: int, _: FrameType | None) -> None:
        global _asked
        self.asked, self._came, _asked = True, number, number
        for each, handler in self._before.items():
            signal.signal(each, signal.SIG_DFL if handler is _raise else handler)


def _handle(handler: Any) -> dict[signal.Signals, Any]:
    """Sets a handler for each signal that is not ignored (nohup ignores SIGHUP); returns the previous handlers."""
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    before = {number: each for number, each in before.items() if each not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    return before


def _raise(number: int, frame: FrameType | None) -> None:
    global _came
    if _done and _came is not None:
        os._exit(0)
    _came = _came or number
    if _done:
        return
    for each in _NUMBERS:
        if signal.getsignal(each) is _raise:
            signal.signal(each, signal.SIG_DFL)
    _raise_here(frame)


def _raise_here(frame: FrameType | None) -> None:
    # An exception during the import of an extension module may be swallowed, or abort the process.
    if _importing(frame):
        _raise_soon()
    else:
        refuse_to_go_on()


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _raise_soon() -> None:
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, lambda _, frame: _raise_here(frame))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)
