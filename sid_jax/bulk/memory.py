"""Memory that a piece has used, for others than the next piece."""

from __future__ import annotations

import ctypes
import functools


def give_back_memory() -> None:
    """Gives what is free in the C library's heap back to the system, where that is glibc's; else it does nothing.

    Left to itself it keeps holes between what it has given out, and a process grows with the pieces that it has done.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> ctypes._NamedFuncPointer | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
