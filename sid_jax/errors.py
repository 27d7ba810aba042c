"""Defines UserError, the exception for errors that a user can fix, and helpers for its one-line message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_LONGEST = 200
_LONGEST_SHOWN = 80
_MOST_NAMES = 20


class UserError(Exception):
    """Raised for errors that the user can fix, such as unusable input. If possible, it is raised before any work.

    The message is one line that says what is wrong, where, and what to do. Commands print it to standard error without
    a traceback, and exit with a nonzero status.
    """


class DeviceWarning(UserWarning):
    """Warns that a run uses a device type other than the one for which JAX is installed."""


def reason(error: BaseException) -> str:
    """Returns the exception's message (or its type name, if it has none) as one line of at most 200 characters."""
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__


def and_more(count: int) -> str:
    """Returns " (and {count} more)", or "" if the count is 0."""
    return f" (and {count:,} more)" if count else ""


def shown(value: Any) -> str:
    """Returns the `repr` of a value as one line, cut to 80 characters, since an id may be a long text."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # A NumPy scalar is shown as 1, not as np.int64(1).
    text = repr(value)
    text = " ".join(text.split()) if "\n" in text else text
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def listed(names: Iterable[str]) -> str:
    """Returns the first 20 names on one line, followed by the number of omitted names."""
    names = list(names)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(" ".join(name.split())[:_LONGEST_SHOWN] for name in names[:_MOST_NAMES]) + more
