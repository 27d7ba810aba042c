"""JD xLLM: the binary file of the items that constrained decoding may generate.

A record is an int64 item id, which is the row number if ids are text, and three int32 token ids.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sid_jax.formats.content import Content


def write_xllm(folder: Path, content: Content) -> None:
    """Writes `rec_vocab.bin`, little-endian. Every item has its own record, even if it shares its ID with others."""
    records = np.empty(len(content.table), [("item", "<i8"), ("tokens", "<i4", (3,))])
    records["item"] = content.integer_ids(folder)
    records["tokens"] = content.vocabulary.token_ids(content.table.semantic_ids)
    records.tofile(folder / "rec_vocab.bin")
    content.write_vocabulary(folder)
