"""NVIDIA recsys-examples: Parquet files and a tensor of IDs for training `sid_gr`, and a catalog for serving."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.formats.content import Content
from sid_jax.formats.grid import write_levels


def write_nvidia(folder: Path, content: Content) -> None:
    """Writes IDs `[L, N]`, the sequences `training`, `validation` and `testing`, and `catalog.jsonl` with token ids.

    The last item of a sequence is its target. Training sequences exclude each user's last two items.
    """
    content.write_numbers(folder)
    content.write_vocabulary(folder)
    write_levels(folder / "item-sid-mapping.pt", content)
    ids, tokens = content.table.item_ids.tolist(), content.vocabulary.token_ids(content.table.semantic_ids).tolist()
    with (folder / "catalog.jsonl").open("w", encoding="utf-8") as file:
        for item, token_ids, title in zip(ids, tokens, content.texts("title"), strict=True):
            record = {"item_id": item, "token_ids": token_ids, "metadata": {"title": title} if title else {}}
            file.write(f"{json.dumps(record, ensure_ascii=False)}\n")
    for name, left_out in (("training", 2), ("validation", 1), ("testing", 0)) if content.histories is not None else ():
        sequences = [items[: len(items) - left_out] for items in content.sequences]
        table = {
            "user_id": pa.array(range(len(sequences)), pa.int64()),
            "sequence_data": pa.array(sequences, pa.list_(pa.int64())),
            "sequence_length": pa.array(map(len, sequences), pa.int64()),
        }
        pq.write_table(pa.table(table), folder / f"{name}.parquet")
