"""What another library's exception says, for the one line that a user reads."""

from __future__ import annotations

_LONGEST = 200


def reason(error: BaseException) -> str:
    """Returns the exception's message (or its kind, if it has none) as one line of at most 200 characters."""
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
