"""RecTokens: the codes `[N, L]` for `ItemAwareTokenizer.build_item_trie`, and each item's tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sid_jax.export.torch_file import write_torch_file
from sid_jax.formats.content import Content, write_plain_json
from sid_jax.formats.lcrec import numbered


def write_rectokens(folder: Path, content: Content) -> None:
    """Writes `items.json` with each item's tokens, and `catalog.pt` with `codes`, `num_levels` and `codebook_size`.

    `codebook_size` is the size of the largest level, since `ItemAwareTokenizer` uses one size for all levels.
    """
    content.write_numbers(folder)
    sizes = content.table.sizes
    codes = np.ascontiguousarray(content.table.semantic_ids, np.int64)
    about = {"codes": codes, "num_levels": len(sizes), "codebook_size": max(sizes)}
    write_torch_file(folder / "catalog.pt", about)
    tokens = [[f"<item_L{level}_C{code}>" for level, code in enumerate(row)] for row in content.codes]
    write_plain_json(folder / "items.json", numbered(tokens))
