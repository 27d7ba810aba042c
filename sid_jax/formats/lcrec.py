"""LC-Rec (Zheng et al., 2311.09049): `D.index.json`, `D.item.json` and `D.inter.json` for a data set named D."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sid_jax.formats.content import Content, write_plain_json
from sid_jax.tokens.vocabulary import DEFAULT_PATTERN

_FIELDS = ("title", "description", "brand", "categories")


def write_lcrec(folder: Path, content: Content, **texts: list[str]) -> None:
    """Writes the items' tokens and texts, and the users' whole histories. Items and users are numbered from 0.

    LC-Rec itself excludes each user's last two items from training.

    Args:
      folder: destination; must exist.
      content: the items and histories.
      **texts: for a field such as `title`, one text per item; these texts replace the table's column.
    """
    content.write_numbers(folder)
    write_plain_json(folder / f"{content.name}.index.json", numbered(content.tokens(DEFAULT_PATTERN)))
    rows = zip(*(texts.get(field) or content.texts(field) for field in _FIELDS), strict=True)
    items = numbered([dict(zip(_FIELDS, row, strict=True)) for row in rows])
    write_plain_json(folder / f"{content.name}.item.json", items)
    if content.histories is not None:
        write_plain_json(folder / f"{content.name}.inter.json", numbered(content.sequences))


def numbered(rows: Sequence[Any]) -> dict[str, Any]:
    """Returns a dict from row numbers, as text, to rows."""
    return {str(number): row for number, row in enumerate(rows)}
