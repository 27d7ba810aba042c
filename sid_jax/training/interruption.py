"""SIGTERM and Ctrl-C as a wish that the loop grants at its next convenience."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Within its context, the first SIGTERM or SIGINT sets `asked`; a second one acts as it did before.

    Outside the main thread, where Python sets no signal handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._came: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def pass_on(self) -> None:
        """Lets the signal act as it did before, if one came: where a loop has ended and more is to follow."""
        if self._came is not None:
            signal.raise_signal(self._came)

    def _ask(self, number: int, _: FrameType | None) -> None:
        self.asked, self._came = True, number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
