"""LC-Rec (Zheng et al., 2311.09049): `D.index.json`, `D.item.json` and `D.inter.json`, items and users numbered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sid_jax.formats.content import Content, write_plain_json
from sid_jax.tokens.vocabulary import DEFAULT_PATTERN


def write_lcrec(folder: Path, content: Content) -> None:
    """Writes tokens, texts and whole histories by number; LC-Rec itself leaves out each user's last two items."""
    content.write_numbers(folder)
    write_plain_json(folder / f"{content.name}.index.json", numbered(content.tokens(DEFAULT_PATTERN)))
    fields = ("title", "description", "brand", "categories")
    texts = zip(*map(content.texts, fields), strict=True)
    items = {str(number): dict(zip(fields, each, strict=True)) for number, each in enumerate(texts)}
    write_plain_json(folder / f"{content.name}.item.json", items)
    if content.histories is not None:
        write_plain_json(folder / f"{content.name}.inter.json", numbered(content.sequences))


def numbered(rows: Sequence[list[Any]]) -> dict[str, list[Any]]:
    """Returns rows by their numbers as text."""
    return {str(number): row for number, row in enumerate(rows)}
