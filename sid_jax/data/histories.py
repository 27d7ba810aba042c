"""Who interacted with what, in time order: each user's history."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from sid_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Histories:
    """U users and the T interactions that they have together, user after user.

    Attributes:
      user_ids: `[U]` int64 or object (str), as they came; no two alike.
      offsets: `[U + 1]` int64: user u's interactions are `items[offsets[u] : offsets[u + 1]]`.
      items: `[T]` int32 rows of `item_ids`, each user's in time order.
      item_ids: `[N]` the catalog's ids, int64 or object (str).
      num_unknown: how many interactions were left out because their items are not in the catalog.
      num_tied: how many interactions had the time of another one of the same user, of all that were read.
    """

    user_ids: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    item_ids: np.ndarray
    num_unknown: int = 0
    num_tied: int = 0

    def __len__(self) -> int:
        """Returns U."""
        return len(self.user_ids)

    @property
    def lengths(self) -> np.ndarray:
        """`[U]` int64: how many interactions each user has."""
        return np.diff(self.offsets)

    def of(self, user_row: int) -> np.ndarray:
        """Returns `[n]` int32: one user's items, the oldest first."""
        return self.items[self.offsets[user_row] : self.offsets[user_row + 1]]

    def user_of(self, place: int) -> int:
        """Returns the row of the user whose interaction `items[place]` is."""
        return int(np.searchsorted(self.offsets, place, side="right")) - 1

    def without_last(self, n: int) -> Histories:
        """Returns the histories without each user's last `n` interactions; a user with fewer has none left."""
        ends = np.repeat(self.offsets[1:], self.lengths)
        return self.keep_interactions(np.arange(len(self.items)) < ends - n)

    def keep_interactions(self, kept: np.ndarray) -> Histories:
        """Returns the same users with the interactions that `[T]` bool says; some may have none left."""
        kept_before = np.concatenate([[0], np.cumsum(kept)])
        return dataclasses.replace(self, offsets=kept_before[self.offsets], items=self.items[kept])

    def keep_users(self, kept: np.ndarray) -> Histories:
        """Returns the users that `[U]` bool says, with all their interactions."""
        return dataclasses.replace(
            self,
            user_ids=self.user_ids[kept],
            offsets=offsets_of(self.lengths[kept]),
            items=self.items[np.repeat(kept, self.lengths)],
        )

    def padded(self, rows: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the last items of some users, side by side.

        Args:
          rows: `[B]` rows of users.
          window: W, the most items of a user.

        Returns:
          `[B, W]` int32 items, the oldest first, from the left, 0 where there are no more; and `[B]` int32 lengths.
        """
        return last_items(self.items, self.offsets[rows], self.offsets[rows + 1], window)

    def fingerprint(self) -> str:
        """Returns the SHA-256 over all arrays: equal if and only if the histories are."""
        digest = hashlib.sha256()
        digest.update(f"{len(self)} {len(self.item_ids)} {self.user_ids.dtype} {self.item_ids.dtype}".encode())
        for numbers in (self.offsets, self.items):
            digest.update(np.ascontiguousarray(numbers).tobytes())
        for ids in (self.user_ids, self.item_ids):
            digest.update("\n".join(map(str, ids.tolist())).encode())
        return digest.hexdigest()


def last_items(items: np.ndarray, first: np.ndarray, ends: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the last `window` of each run `items[first : ends]`.

    Args:
      items: `[T]` int32.
      first, ends: `[B]`, with `first <= ends`.
      window: W.

    Returns:
      `[B, W]` int32 from the left, padded with 0; and `[B]` int32 lengths.
    """
    lengths = np.minimum(ends - first, window)
    padded = np.zeros((len(lengths), window), np.int32)
    # Column by column: W is small, and an index of all places at once would take twice the memory of the result.
    for column in range(window):
        there = lengths > column
        padded[there, column] = items[(ends - lengths + column)[there]]
    return padded, lengths.astype(np.int32)


def item_counts(histories: Histories) -> np.ndarray:
    """Returns `[N]` int64: how often each item was interacted with."""
    return np.bincount(histories.items, minlength=len(histories.item_ids))


def keep_active(histories: Histories, min_interactions: int) -> Histories:
    """Drops the users with fewer interactions (TIGER, 2305.05065, section 4: fewer than 5).

    Raises:
      UserError: if nobody is left.
    """
    active = histories.lengths >= min_interactions
    if not active.any():
        raise UserError(
            f"no user has {min_interactions} interactions or more (the most is {histories.lengths.max(initial=0)}); "
            "set config.data.min_interactions lower, or give longer histories"
        )
    return histories.keep_users(active)


def offsets_of(counts: np.ndarray | list[int]) -> np.ndarray:
    """Returns `[U + 1]` int64: where the runs of so many begin, one after the other, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
