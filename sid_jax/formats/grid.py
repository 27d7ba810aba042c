"""GRID (snap-research) and MaskGR: Semantic IDs as a tensor `[L, N]`, and histories as TFRecords."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sid_jax.data.tfrecord import write_tfrecords
from sid_jax.export.torch_file import write_torch_file
from sid_jax.formats.content import Content


def write_grid(folder: Path, content: Content) -> None:
    """Writes `semantic_ids.pt`, int64, and TFRecord files of sequences. The last item of a sequence is its target.

    A suffix that makes IDs unique is the tensor's last row. Training sequences exclude each user's last two items.
    """
    content.write_numbers(folder)
    write_levels(folder / "semantic_ids.pt", content)
    for name, left_out in (("training", 2), ("evaluation", 1), ("testing", 0)) if content.histories is not None else ():
        (folder / name).mkdir()
        examples = (
            {"user_id": [user], "sequence_data": items[: len(items) - left_out]}
            for user, items in enumerate(content.sequences)
        )
        write_tfrecords(folder / name / "0.tfrecord.gz", examples)


def write_levels(path: Path, content: Content) -> None:
    """Writes Semantic IDs `[L, N]` int64 as a single tensor."""
    write_torch_file(path, np.ascontiguousarray(content.table.semantic_ids.T, np.int64))
