"""Builds one text from the fields that describe an item."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")


def join_fields(fields: Iterable[tuple[str, Any]]) -> str:
    """Returns "Title: Nail Lacquer; Brand: OPI; Categories: Makeup, Nails" from names and values.

    A name is written with a capital letter and with spaces for underscores. A list is joined by commas. Values that are
    empty or None are omitted, with their names.
    """
    parts = ((name, value_text(value)) for name, value in fields)
    return "; ".join(f"{name[:1].upper()}{name[1:].replace('_', ' ')}: {text}" for name, text in parts if text)


def value_text(value: Any) -> str:
    """Returns a value as text: "" for None, a list's entries joined by commas, a whole float without ".0"."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(text for text in map(value_text, value) if text)
    return clean(str(value).removesuffix(".0") if isinstance(value, float) else str(value))


def item_texts(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> list[str]:
    """Returns a text for each item: a single column as it is, or several joined by `join_fields`.

    Args:
      names: names of the columns.
      columns: the columns, with N values each.
    """
    if len(columns) == 1:
        return [value_text(value) for value in columns[0]]
    return [join_fields(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def clean(text: str) -> str:
    """Replaces each lone surrogate by U+FFFD, since it is not a character and cannot be encoded as UTF-8.

    JSON may contain lone surrogates, for example half of an emoji at the end of a truncated text.
    """
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
