"""N-grams of codes as features: single codes, prefixes, and windows (Singh et al., 2306.08121, section 3).

An n-gram is represented by L numbers: its codes at their levels, and -1 at all other levels. For example, (7, 2, -1)
represents a prefix of two codes. The same codes at other levels are another n-gram, since a code number has no meaning
without its level.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.errors import UserError
from sid_jax.features.item_rows import ItemRows
from sid_jax.ids.convert import mixed

NGRAMS = ("unigram", "prefix", "window")
_KNOWN_FILE, _ABOUT_FILE = "ngrams.npy", "ngrams.json"
# The increment of SplitMix64 (see `mixed`).
_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclasses.dataclass(frozen=True, eq=False)
class NgramFeatures:
    """Features that map the n-grams of an item to rows of an embedding table.

    Without a hash, each of the most frequent n-grams has its own row, and other n-grams have none. With a hash, every
    n-gram has a row, and several n-grams may share a row.

    Attributes:
      num_rows: R.
      spans: for each n-gram of an item, its first level and its last level + 1.
      known: `[V, L]` int32 n-grams; the n-gram at index v has row v + 1. Row 0 is for items whose n-grams are all
        unknown. None if a hash determines the rows.
    """

    num_rows: int
    spans: tuple[tuple[int, int], ...]
    known: np.ndarray | None

    def rows_of(self, item_ids: np.ndarray, semantic_ids: np.ndarray) -> ItemRows:
        """Returns the rows of N items. The rows depend only on the Semantic IDs `[N, L]`; `item_ids` is ignored.

        Raises:
          UserError: if the IDs do not have the length of the IDs that the features were fitted to.
        """
        # The last n-gram ends at the last level, whether the n-grams are single codes, prefixes or windows.
        num_levels = self.spans[-1][1]
        if semantic_ids.shape[1] != num_levels:
            raise UserError(
                f"the features were made for IDs of {num_levels} codes, but these IDs have {semantic_ids.shape[1]}; "
                "make new features"
            )
        found = ngrams_of(semantic_ids, self.spans)
        if self.known is None:
            return ItemRows.of_padded((hash_numbers(found) % np.uint64(self.num_rows)).astype(np.int32))
        rows = 1 + _places(found.reshape(-1, found.shape[-1]), self.known).reshape(found.shape[:2])
        rows[rows == 0] = -1
        rows[(rows < 0).all(axis=1), 0] = 0
        return ItemRows.of_padded(rows)

    def save(self, folder: Path) -> None:
        """Writes the files that `load_ngrams` reads."""
        (folder / _ABOUT_FILE).write_text(json.dumps({"num_rows": self.num_rows, "spans": self.spans}) + "\n")
        if self.known is not None:
            np.save(folder / _KNOWN_FILE, self.known)


def fit_ngrams(
    kind: str,
    semantic_ids: np.ndarray,
    impressions: np.ndarray,
    num_rows: int,
    *,
    length: int = 2,
    hashed: bool = False,
) -> NgramFeatures:
    """Fits n-gram features. Without a hash, each of the R - 1 most frequent n-grams gets its own row.

    Args:
      kind: the n-grams of an ID. "unigram" takes each code, "prefix" each prefix, and "window" each sequence of
        `length` consecutive codes.
      semantic_ids: `[N, L]` integers, 0 or more.
      impressions: `[N]`, how often each item is seen. An n-gram that occurs only in items without impressions has no
        row.
      num_rows: R, including row 0.
      length: number of codes of a window.
      hashed: whether a hash determines the rows. N-grams that do not occur in `semantic_ids` then have rows too.

    Raises:
      UserError: if the length of a window is not from 1 to L.
    """
    spans = _spans(kind, semantic_ids.shape[1], length)
    if hashed:
        return NgramFeatures(num_rows, spans, None)
    found = ngrams_of(semantic_ids, spans)
    distinct, which = np.unique(found.reshape(-1, found.shape[-1]), axis=0, return_inverse=True)
    seen = np.bincount(which.reshape(-1), np.repeat(impressions, len(spans)), minlength=len(distinct))
    order = np.argsort(-seen, kind="stable")[: num_rows - 1]
    return NgramFeatures(num_rows, spans, distinct[order[seen[order] > 0]])


def load_ngrams(folder: Path) -> NgramFeatures:
    """Loads features that `NgramFeatures.save` wrote."""
    about = json.loads((folder / _ABOUT_FILE).read_text())
    known = np.load(folder / _KNOWN_FILE, allow_pickle=False) if (folder / _KNOWN_FILE).exists() else None
    return NgramFeatures(about["num_rows"], tuple((first, end) for first, end in about["spans"]), known)


def ngrams_of(semantic_ids: np.ndarray, spans: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Returns the S n-grams of each item, `[N, S, L]` int32, with -1 at levels that an n-gram does not contain."""
    found = np.full((len(semantic_ids), len(spans), semantic_ids.shape[1]), -1, np.int32)
    for place, (first, end) in enumerate(spans):
        found[:, place, first:end] = semantic_ids[:, first:end]
    return found


def _spans(kind: str, num_levels: int, length: int) -> tuple[tuple[int, int], ...]:
    if kind == "prefix":
        return tuple((0, end) for end in range(1, num_levels + 1))
    size = 1 if kind == "unigram" else length
    if not 1 <= size <= num_levels:
        raise UserError(
            f"--window={size} is not possible for IDs of {num_levels} codes; set a length from 1 to {num_levels}"
        )
    return tuple((first, first + size) for first in range(num_levels - size + 1))


def _places(wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns, for each row of `wanted [n, L]`, its index in `known [V, L]`, or -1 if `known` does not have it."""
    found = pc.index_in(_as_bytes(wanted), value_set=_as_bytes(known))
    return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int32)


def _as_bytes(numbers: np.ndarray) -> pa.Array:
    content = np.ascontiguousarray(numbers, np.int32)
    width = pa.binary(4 * content.shape[1])
    return pa.FixedSizeBinaryArray.from_buffers(width, len(content), [None, pa.py_buffer(content)])


def hash_numbers(numbers: np.ndarray) -> np.ndarray:
    """Returns a hash of each row of `[..., L]` integers, `[...]` uint64, the same on every machine."""
    state = np.zeros(numbers.shape[:-1], np.uint64)
    for each in np.moveaxis(numbers, -1, 0):
        state = mixed(state + _STEP + each.astype(np.int64).view(np.uint64))
    return state
