"""The kinds of features there are, fitted to the items of today and kept for those of tomorrow."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from sid_jax.errors import UserError
from sid_jax.features.item_rows import ItemRows
from sid_jax.features.ngrams import NGRAMS, fit_ngrams, load_ngrams
from sid_jax.features.pieces import fit_pieces, load_pieces
from sid_jax.ids.table import IdTable

# By an item's id alone, which says nothing of content: what Semantic IDs are compared with.
IDENTITIES = ("random", "item")
_RANDOM_FILE, _ITEMS_FILE = "random.json", "items.json"
KINDS = ("sentencepiece", *NGRAMS, *IDENTITIES)


class Features(Protocol):
    """From an item to rows of an embedding table."""

    @property
    def num_rows(self) -> int:
        """R, how many rows the table has; no row is R or more."""

    def rows_of(self, item_ids: np.ndarray, semantic_ids: np.ndarray) -> ItemRows:
        """Returns the rows of items `[N]` with their Semantic IDs `[N, L]`."""

    def save(self, folder: Path) -> None:
        """Writes what makes it."""


def fit_features(
    kind: str,
    table: IdTable,
    num_rows: int,
    *,
    impressions: np.ndarray | None = None,
    window: int = 2,
    hashed: bool = False,
    seed: int = 0,
) -> Features:
    """Returns features of a kind that fit into a table of so many rows.

    Args:
      kind: one of KINDS.
      table: the items and their Semantic IDs.
      num_rows: R.
      impressions: `[N]` whole numbers, how often each item is seen: what is seen often gets rows of its own; None for
        all alike. An item without any has no part in the fit.
      window: "window": codes an n-gram.
      hashed: n-grams: whether rows are given by a hash.
      seed: "random": of the hash.

    Raises:
      UserError: if the rows are too few, or SentencePiece is wanted and missing.
    """
    if num_rows < 2:
        raise UserError(f"--rows={num_rows}: give at least 2")
    seen = np.ones(len(table.item_ids), np.int64) if impressions is None else impressions
    if kind == "sentencepiece":
        return fit_pieces(table.semantic_ids, seen, num_rows)
    if kind == "random":
        return RandomFeatures(num_rows, seed)
    if kind == "item":
        order = np.argsort(-seen, kind="stable")[: num_rows - 1]
        return ItemFeatures(num_rows, list(map(str, table.item_ids[order[seen[order] > 0]].tolist())))
    return fit_ngrams(kind, table.semantic_ids, seen, num_rows, length=window, hashed=hashed)


def load_features(kind: str, folder: Path) -> Features:
    """Reads what the `save` of features of this kind wrote.

    Raises:
      UserError: if it cannot be read.
    """
    readers: dict[str, Callable[[Path], Features]] = {
        "sentencepiece": load_pieces,
        "random": lambda folder: RandomFeatures(**json.loads((folder / _RANDOM_FILE).read_text())),
        "item": lambda folder: ItemFeatures(**json.loads((folder / _ITEMS_FILE).read_text())),
        **dict.fromkeys(NGRAMS, load_ngrams),
    }
    try:
        return readers[kind](folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: holds no features of the kind {kind!r}: make them again") from error


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
        """Writes what `load_features` reads."""
        (folder / _RANDOM_FILE).write_text(json.dumps({"num_rows": self.num_rows, "seed": self.seed}) + "\n")


@dataclasses.dataclass(frozen=True, eq=False)
class ItemFeatures:
    """A row of its own for each item that is seen, the most seen first; row 0 for all others.

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
        """Writes what `load_features` reads."""
        (folder / _ITEMS_FILE).write_text(json.dumps({"num_rows": self.num_rows, "known": self.known}) + "\n")


def hash_ids(item_ids: np.ndarray, seed: int) -> np.ndarray:
    """Returns a hash of each of `[N]` ids as text, `[N]` uint64: the same on every machine."""
    salt = seed.to_bytes(8, "little")
    digests = (hashlib.blake2b(str(each).encode(), digest_size=8, salt=salt).digest() for each in item_ids.tolist())
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
