"""torch-rechub's TIGER: `semantic_ids.json` and `inter.json`, with numbered items and users."""

from __future__ import annotations

from pathlib import Path

from sid_jax.formats.content import Content, write_plain_json
from sid_jax.formats.lcrec import numbered
from sid_jax.tokens.vocabulary import DEFAULT_PATTERN


def write_torch_rechub(folder: Path, content: Content) -> None:
    """Writes the items' tokens and the users' whole histories. Items and users are numbered from 0.

    torch-rechub itself excludes each user's last two items from training.
    """
    content.write_numbers(folder)
    write_plain_json(folder / "semantic_ids.json", numbered(content.tokens(DEFAULT_PATTERN)))
    if content.histories is not None:
        write_plain_json(folder / "inter.json", numbered(content.sequences))
