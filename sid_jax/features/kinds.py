"""Fits features to an ID table, and loads them. Features map each item to rows of an embedding table."""

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

# Kinds of features that depend on the item id alone, not on content. They are the baselines for Semantic IDs.
IDENTITIES = ("random", "item")
_MOST_ROWS = 2**31 - 1
_RANDOM_FILE, _ITEMS_FILE = "random.json", "items.json"
KINDS = ("sentencepiece", *NGRAMS, *IDENTITIES)


class Features(Protocol):
    """A map from items to rows of an embedding table."""

    @property
    def num_rows(self) -> int:
        """R, the number of rows of the embedding table. All row indices are below R."""

    def rows_of(self, item_ids: np.ndarray, semantic_ids: np.ndarray) -> ItemRows:
        """Returns the rows of N items, which have the ids `[N]` and the Semantic IDs `[N, L]`."""

    def save(self, folder: Path) -> None:
        """Writes the features to a folder."""


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
    """Fits features of a kind to an ID table, for an embedding table of R rows.

    Args:
      kind: one of KINDS.
      table: the items and their Semantic IDs.
      num_rows: R.
      impressions: `[N]` integers, how often each item is seen. The most frequent items, n-grams or pieces get rows of
        their own. None weights all items equally. Items without impressions are not used in the fit.
      window: number of codes per n-gram, for the kind "window".
      hashed: whether a hash determines the rows; used only for the kinds in `NGRAMS`.
      seed: seed of the hash, for the kind "random".

    Raises:
      UserError: if the number of rows, the window or the seed is out of range, or if SentencePiece is needed and cannot
        be trained or is not installed.
    """
    if num_rows < 2:
        raise UserError(f"--rows={num_rows} is too few; set at least 2")
    if num_rows > _MOST_ROWS:
        raise UserError(f"--rows={num_rows} is too many, since row numbers have 31 bits; set at most {_MOST_ROWS}")
    if not 0 <= seed < 2**64:
        raise UserError(f"--seed={seed} is not possible; set a whole number from 0 to 2^64 - 1")
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
    """Loads features that `save` of the same kind wrote.

    Raises:
      UserError: if the files cannot be read.
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
        raise UserError(
            f"{folder}: the features of the kind {kind!r} cannot be read; make the features again"
        ) from error


@dataclasses.dataclass(frozen=True, eq=False)
class RandomFeatures:
    """Random hashing: an item's row is a hash of its id, so items share rows at random.

    Attributes:
      num_rows: R.
      seed: seed of the hash.
    """

    num_rows: int
    seed: int = 0

    def rows_of(self, item_ids: np.ndarray, semantic_ids: np.ndarray) -> ItemRows:
        """Returns the row of each of N items."""
        return ItemRows.of_padded((hash_ids(item_ids, self.seed) % np.uint64(self.num_rows)).astype(np.int32)[:, None])

    def save(self, folder: Path) -> None:
        """Writes the file that `load_features` reads."""
        (folder / _RANDOM_FILE).write_text(json.dumps({"num_rows": self.num_rows, "seed": self.seed}) + "\n")


@dataclasses.dataclass(frozen=True, eq=False)
class ItemFeatures:
    """Each of the most frequent items has its own row; all other items share row 0.

    Attributes:
      num_rows: R.
      known: `[V]` item ids as text; the item at index v has row v + 1.
    """

    num_rows: int
    known: list[str]

    def rows_of(self, item_ids: np.ndarray, semantic_ids: np.ndarray) -> ItemRows:
        """Returns the row of each of N items."""
        row_of = {item: row for row, item in enumerate(self.known, 1)}
        rows = np.fromiter((row_of.get(str(item), 0) for item in item_ids.tolist()), np.int32, len(item_ids))
        return ItemRows.of_padded(rows[:, None])

    def save(self, folder: Path) -> None:
        """Writes the file that `load_features` reads."""
        (folder / _ITEMS_FILE).write_text(json.dumps({"num_rows": self.num_rows, "known": self.known}) + "\n")


def hash_ids(item_ids: np.ndarray, seed: int) -> np.ndarray:
    """Returns a hash of each item id's text, `[N]` uint64, the same on every machine."""
    salt = seed.to_bytes(8, "little")
    digests = (hashlib.blake2b(str(each).encode(), digest_size=8, salt=salt).digest() for each in item_ids.tolist())
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
