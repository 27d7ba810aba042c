"""Prints warnings, and prevents failed writes to the standard streams from ending a command."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any, TextIO

# The beginning of every warning.
WARNING = "warning: "


def keep_working_streams() -> None:
    """Prevents exceptions from `print` if a pipe is closed, a disk is full, or an encoding lacks a character.

    Output that cannot be written is dropped. Characters that the encoding lacks are replaced.
    """
    # If a standard stream was closed before the start, the next opened file would get its descriptor, and the output of
    # libraries would be written to that file. Therefore, the null device is opened for each closed standard stream.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(descriptor)
    sys.stdout, sys.stderr = _kept(sys.stdout), _kept(sys.stderr)


def _kept(stream: TextIO | None) -> TextIO:
    if stream is None:  # The stream was closed before the start.
        return Path(os.devnull).open("w")
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError):  # The stream of a notebook or of a test.
        return stream
    stream.flush()
    line_buffering = stream.isatty() or stream is sys.stderr
    raw = io.BufferedWriter(_Kept(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, stream.encoding, "replace", line_buffering=line_buffering)


class _Kept(io.FileIO):
    """A stream that discards all output after the first write that fails."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return memoryview(data).nbytes


def print_warning(text: str) -> None:
    """Prints a warning as one line of standard error."""
    print(f"{WARNING}{text}", file=sys.stderr, flush=True)
