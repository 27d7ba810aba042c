"""GRID (snap-research) and MaskGR: the Semantic IDs as a tensor `[L, N]`, one column an item, its number."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sid_jax.export.torch_file import write_torch_file
from sid_jax.formats.content import Content


def write_grid(folder: Path, content: Content) -> None:
    """Writes `semantic_ids.pt`, int64. The digit that separates equal IDs is the last row where a scheme has one."""
    content.write_numbers(folder)
    write_levels(folder / "semantic_ids.pt", content)


def write_levels(path: Path, content: Content) -> None:
    """Writes Semantic IDs `[L, N]` int64, a tensor alone."""
    write_torch_file(path, np.ascontiguousarray(content.table.semantic_ids.T, np.int64))
