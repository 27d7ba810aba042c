"""What an item says of itself, as one text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")


def join_fields(fields: Iterable[tuple[str, Any]]) -> str:
    """Returns "Title: Nail Lacquer; Brand: OPI; Categories: Makeup, Nails" from names and values.

    A name is written with a capital letter and blanks for underscores. A list is joined by commas. What is empty or
    None is left out with its name.
    """
    parts = ((name, value_text(value)) for name, value in fields)
    return "; ".join(f"{name[:1].upper()}{name[1:].replace('_', ' ')}: {text}" for name, text in parts if text)


def value_text(value: Any) -> str:
    """Returns a value in words: "" for None, a list's entries with commas between, a number without a needless ".0"."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(text for text in map(value_text, value) if text)
    return clean(str(value).removesuffix(".0") if isinstance(value, float) else str(value))


def item_texts(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> list[str]:
    """Returns a text for each item: the one column as it is, or several by `join_fields`.

    Args:
      names: of the columns.
      columns: each with N values.
    """
    if len(columns) == 1:
        return [value_text(value) for value in columns[0]]
    return [join_fields(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def clean(text: str) -> str:
    """Returns the text without lone surrogates, which are no characters and have no UTF-8: U+FFFD stands for each.

    JSON may have them, as halves of an emoji that was cut in two.
    """
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
