"""The one exception that stands for a mistake a user can mend, and words for the one line that it says."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST = 200
_LONGEST_SHOWN = 80
_MOST_NAMES = 20


class UserError(Exception):
    """Bad input, refused before any work.

    The message is one line that says what is wrong, where, and what to do. The commands print it to standard error
    without a traceback and leave with a status that is not 0.
    """


class DeviceWarning(UserWarning):
    """A run uses another device than the one that JAX is installed for."""


def reason(error: BaseException) -> str:
    """Returns the exception's message (or its kind, if it has none) as one line of at most 200 characters."""
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__


def shown(value: object) -> str:
    """Returns any value as Python writes it, on one line and cut where it is long: an id may be a whole text."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def listed(names: Iterable[str]) -> str:
    """Returns names on one line, the first 20."""
    names = list(names)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(" ".join(name.split())[:_LONGEST_SHOWN] for name in names[:_MOST_NAMES]) + more
