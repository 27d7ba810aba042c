"""The kinds of features there are, fitted to the items of today and kept for those of tomorrow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from sid_jax.errors import UserError
from sid_jax.export.id_tables import IdTable
from sid_jax.features.identities import IDENTITIES, RandomFeatures, fit_items, load_items, load_random
from sid_jax.features.item_rows import ItemRows
from sid_jax.features.ngrams import NGRAMS, fit_ngrams, load_ngrams
from sid_jax.features.pieces import fit_pieces, load_pieces

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
        return fit_items(table.item_ids, seen, num_rows)
    return fit_ngrams(kind, table.semantic_ids, seen, num_rows, length=window, hashed=hashed)


def load_features(kind: str, folder: Path) -> Features:
    """Reads what the `save` of features of this kind wrote.

    Raises:
      UserError: if it cannot be read.
    """
    readers: dict[str, Callable[[Path], Features]] = {
        "sentencepiece": load_pieces,
        "random": load_random,
        "item": load_items,
        **dict.fromkeys(NGRAMS, load_ngrams),
    }
    try:
        return readers[kind](folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: holds no features of the kind {kind!r}: make them again") from error
