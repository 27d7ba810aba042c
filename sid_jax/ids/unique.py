"""From codes, which several items may share, to Semantic IDs, which no two items share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sid_jax.errors import UserError
from sid_jax.ids.relocate import Alternatives, relocate

# "relocate": L codes, where all but one of those who share a tuple move to a free one nearby; "suffix": one more token;
# "none": the codes as they are.
SCHEMES = ("relocate", "suffix", "none")


def make_unique(
    scheme: str,
    codes: np.ndarray,
    ids: np.ndarray,
    sizes: Sequence[int],
    alternatives: Alternatives,
    *,
    capacity: int = 1,
) -> np.ndarray:
    """Returns the Semantic IDs that a scheme makes of codes.

    Args:
      scheme: one of `SCHEMES`.
      codes: `[N, L]` int32.
      ids: `[N]` item ids, all integers or all strings, no two alike.
      sizes: K of each level.
      alternatives: for "relocate", what an item could have instead.
      capacity: for "relocate", how many items may share an ID.

    Raises:
      UserError: if two items have the same id, or there are more items than IDs.
    """
    if scheme == "relocate":
        return relocate(codes, ids, sizes, alternatives, capacity=capacity)
    return append_suffix(codes, ids) if scheme == "suffix" else codes


def append_suffix(codes: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Makes codes unique by one extra token (Rajput et al., 2305.05065, section 3.1).

    Items with the same codes are numbered 0, 1, 2, … in the order of their ids: integers by value, strings by code
    point. So the result is a function of the pairs (id, codes), not of the order of the rows. Every item gets the
    token, alone or not, because decoders of fixed length need one length for the whole table.

    Args:
      codes: `[N, L]` int32.
      ids: `[N]` item ids, all integers or all strings, no two alike.

    Returns:
      `[N, L + 1]` int32, the codes and then the extra token, in the order of `codes`.

    Raises:
      ValueError: if the shapes do not fit.
      UserError: if two items have the same id.
    """
    return np.column_stack([codes.astype(np.int32), number_items(codes, ids)])


def number_items(codes: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Returns `[N]` int32, the extra token alone; as of `append_suffix`."""
    if codes.ndim != 2 or ids.shape != codes.shape[:1]:
        raise ValueError(f"codes must be [N, L] and ids [N], not {codes.shape} and {ids.shape}")
    # Python sorts strings twice as fast as NumPy sorts an array of them.
    by_id = np.array(sorted(range(len(ids)), key=ids.tolist().__getitem__), dtype=np.intp)
    _refuse_duplicates(ids[by_id])
    # A stable sort by the codes on top of it leaves each bucket in the order of the ids.
    order = by_id[np.lexsort(codes[by_id].T[::-1])]
    in_order = codes[order]
    starts = np.ones(len(codes), bool)
    starts[1:] = (in_order[1:] != in_order[:-1]).any(axis=1)
    first_of_bucket = np.flatnonzero(starts)[np.cumsum(starts) - 1]
    suffix = np.empty(len(codes), np.int32)
    suffix[order] = np.arange(len(codes)) - first_of_bucket
    return suffix


def _refuse_duplicates(sorted_ids: np.ndarray) -> None:
    repeated = np.flatnonzero(sorted_ids[1:] == sorted_ids[:-1])
    if len(repeated):
        raise UserError(f"the id {sorted_ids[repeated[0]]!r} is there more than once: each item needs an id of its own")
