"""Makes unique Semantic IDs from codes that items may share, for all items or for new items only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sid_jax.distinct import distinct, is_among
from sid_jax.errors import UserError
from sid_jax.ids.relocate import Alternatives, Rows, relocate, tuple_keys

# "relocate": L codes; items beyond the capacity of a code tuple move to free tuples nearby. "suffix": L codes and one
# additional code. "none": the L codes that the model assigned, which items may share.
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
    """Returns the Semantic IDs of items, made from their codes by a scheme.

    Args:
      scheme: one of `SCHEMES`.
      codes: `[N, L]` int32.
      ids: `[N]` distinct item ids, all integers or all strings.
      sizes: the number of codes K of each level.
      alternatives: for "relocate", finds alternative tuples and their costs.
      capacity: for "relocate", the maximum number of items per ID.

    Raises:
      UserError: if two items have the same id, or there are more items than IDs.
    """
    if scheme == "relocate":
        return relocate(codes, ids, sizes, alternatives, capacity=capacity)
    return append_suffix(codes, ids) if scheme == "suffix" else codes


def append_suffix(codes: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Makes codes unique by one additional code, the suffix (Rajput et al., 2305.05065, section 3.1).

    Items with the same codes are numbered 0, 1, 2, … in the order of their ids: integers by value, strings by code
    point. The result depends on the pairs (id, codes), but not on the order of the rows. Every item gets a suffix, even
    if its codes are unique, since generative decoders need IDs of equal length.

    Args:
      codes: `[N, L]` int32.
      ids: `[N]` distinct item ids, all integers or all strings.

    Returns:
      `[N, L + 1]` int32, the codes followed by the suffix, in the order of `codes`.

    Raises:
      ValueError: if the shapes do not match.
      UserError: if two items have the same id.
    """
    return np.column_stack([codes.astype(np.int32), number_items(codes, ids)])


def number_items(codes: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Returns the suffixes of `append_suffix`, `[N]` int32."""
    if codes.ndim != 2 or ids.shape != codes.shape[:1]:
        raise ValueError(f"codes must have shape [N, L] and ids [N], not {codes.shape} and {ids.shape}")
    # Python sorts a list of strings twice as fast as NumPy sorts an array of strings.
    by_id = np.array(sorted(range(len(ids)), key=ids.tolist().__getitem__), dtype=np.intp)
    _refuse_duplicates(ids[by_id])
    # A stable sort by codes keeps each bucket in the order of the ids.
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
        raise UserError(f"the id {sorted_ids[repeated[0]]!r} occurs more than once; give each item its own id")


def extend_ids(
    scheme: str,
    codes: np.ndarray,
    ids: Rows,
    sizes: Sequence[int],
    alternatives: Alternatives,
    published: np.ndarray,
    *,
    capacity: int = 1,
    reusable: np.ndarray | None = None,
) -> np.ndarray:
    """Returns the Semantic IDs of new items. None of them is a published ID, unless items may share IDs.

    The result depends on the pairs (id, codes), on `published` and on the alternatives, but not on the order of the
    rows.

    Args:
      scheme, codes, ids, sizes, alternatives, capacity: see `make_unique`; codes and ids are those of the new items.
      published: `[M, L']`, the Semantic IDs of all other items, and the retired and former IDs that must not be reused.
      reusable: `[R, L']`, retired and former IDs that may be reused; optional.

    Raises:
      UserError: if there are more new items than free IDs.
    """
    reusable = published[:0] if reusable is None else reusable
    if scheme == "relocate":
        _refuse_full(len(codes), len(published), sizes, capacity)
        return relocate(codes, ids, sizes, alternatives, capacity=capacity, taken=published)
    return _with_unused_suffix(codes, ids, sizes, published, reusable) if scheme == "suffix" else codes.astype(np.int32)


def _refuse_full(num_new: int, num_published: int, sizes: Sequence[int], capacity: int) -> None:
    places = capacity * math.prod(sizes)
    if num_published + num_new > places:
        what = "IDs" if capacity == 1 else f"places ({capacity} for each ID)"
        raise UserError(
            f"the number of new items is {num_new:,}, but {len(sizes)} levels of {tuple(sizes)} codes have only "
            f"{max(0, places - num_published):,} free {what} out of {places:,}; append fewer items, reuse the IDs of "
            "removed items with --reuse_removed, or train with more codes or levels and make a new export"
        )


def _with_unused_suffix(
    codes: np.ndarray, ids: Rows, sizes: Sequence[int], published: np.ndarray, reusable: np.ndarray
) -> np.ndarray:
    """Returns codes with a suffix that no item with the same codes has; reusable suffixes are used first."""
    rows = np.arange(len(codes))
    if not len(codes):
        return np.empty((0, codes.shape[1] + 1), np.int32)
    # Only IDs with the same codes as a new item are needed. Since keys may be hashes, codes are compared again below.
    wanted = distinct(tuple_keys(codes, sizes))
    near = [each[is_among(tuple_keys(each[:, :-1], sizes), wanted)] for each in (published, reusable)]
    together = np.concatenate([codes, *(each[:, :-1] for each in near)]).astype(np.int32)
    names, bucket = np.unique(together, axis=0, return_inverse=True)
    own, used, free = np.split(bucket.reshape(-1), np.cumsum([len(codes), len(near[0])]))
    following = np.zeros(len(names), np.int64)
    numbers = np.concatenate([each[:, -1].astype(np.int64) for each in near])
    np.maximum.at(following, np.concatenate([used, free]), numbers + 1)
    # The reusable suffixes are sorted by bucket, and within a bucket in ascending order.
    order = np.lexsort((near[1][:, -1], free))
    again, start = numbers[len(used) :][order], np.searchsorted(free[order], np.arange(len(names) + 1))
    place, there = number_items(codes, ids[rows]), np.diff(start)
    suffix = following[own] + place - there[own]
    reuses = place < there[own]
    suffix[reuses] = again[(start[own] + place)[reuses]]
    return np.column_stack([codes.astype(np.int32), suffix.astype(np.int32)])
