"""Rows by an item's id alone, which know nothing of content: what Semantic IDs are compared with."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from sid_jax.features.hashing import hash_ids
from sid_jax.features.item_rows import ItemRows

IDENTITIES = ("random", "item")
_RANDOM_FILE, _ITEMS_FILE = "random.json", "items.json"


@dataclasses.dataclass(frozen=True, eq=False)
class RandomFeatures:
    """Random hashing: a row by the hash of the id, which items share as chance will have it.

    Attributes:
      num_rows: R.
      seed: of the hash.
    """

    num_rows: int
    seed: int = 0

    def rows_of(self, item_ids: np.ndarray, semantic_ids: np.ndarray) -> ItemRows:
        """Returns one row for each of `[N]` items."""
        return ItemRows.of_padded((hash_ids(item_ids, self.seed) % np.uint64(self.num_rows)).astype(np.int32)[:, None])

    def save(self, folder: Path) -> None:
        """Writes what `load_random` reads."""
        (folder / _RANDOM_FILE).write_text(json.dumps({"num_rows": self.num_rows, "seed": self.seed}) + "\n")


def load_random(folder: Path) -> RandomFeatures:
    """Reads what `RandomFeatures.save` wrote."""
    return RandomFeatures(**json.loads((folder / _RANDOM_FILE).read_text()))


@dataclasses.dataclass(frozen=True, eq=False)
class ItemFeatures:
    """A row of its own for each item, the most seen first; row 0 for all others.

    Attributes:
      num_rows: R.
      known: `[V]` ids as text; the v-th has row v + 1.
    """

    num_rows: int
    known: list[str]

    def rows_of(self, item_ids: np.ndarray, semantic_ids: np.ndarray) -> ItemRows:
        """Returns one row for each of `[N]` items."""
        row_of = {item: row for row, item in enumerate(self.known, 1)}
        rows = np.fromiter((row_of.get(str(item), 0) for item in item_ids.tolist()), np.int32, len(item_ids))
        return ItemRows.of_padded(rows[:, None])

    def save(self, folder: Path) -> None:
        """Writes what `load_items` reads."""
        (folder / _ITEMS_FILE).write_text(json.dumps({"num_rows": self.num_rows, "known": self.known}) + "\n")


def fit_items(item_ids: np.ndarray, impressions: np.ndarray, num_rows: int) -> ItemFeatures:
    """Returns rows of their own for the items of `[N]` that are seen most; items that are never seen have none."""
    order = np.argsort(-impressions, kind="stable")[: num_rows - 1]
    return ItemFeatures(num_rows, list(map(str, item_ids[order[impressions[order] > 0]].tolist())))


def load_items(folder: Path) -> ItemFeatures:
    """Reads what `ItemFeatures.save` wrote."""
    return ItemFeatures(**json.loads((folder / _ITEMS_FILE).read_text()))
