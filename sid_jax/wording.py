"""Formats counts and shares for messages."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """Returns a count with its words: "1 item has", "2,000 items have".

    Args:
      count: the number of things.
      one: the words after 1.
      many: the words after any other number; by default `one` with an s.
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def percentage(share: float) -> str:
    """Returns a share as a percentage with one decimal; only 0 is shown as 0.0%, and only 1 as 100.0%."""
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{share:.1%}"
