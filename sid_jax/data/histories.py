"""Interaction histories: each user's items in time order."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from sid_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Histories:
    """The interaction histories of U users, with T interactions in total, concatenated user by user.

    Attributes:
      user_ids: `[U]` int64 or object (str), unchanged and distinct.
      offsets: `[U + 1]` int64: user u's interactions are `items[offsets[u] : offsets[u + 1]]`.
      items: `[T]` int32, the item of each interaction as a row number in `item_ids`; a user's items are in time order.
      item_ids: `[N]` the catalog's ids, int64 or object (str).
      num_unknown: number of interactions that were dropped because their items are not in the catalog.
      num_tied: number of interactions with the same time as another interaction of the same user, counted when the
        histories were read.
    """

    user_ids: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    item_ids: np.ndarray
    num_unknown: int = 0
    num_tied: int = 0

    def __len__(self) -> int:
        """Returns U, the number of users."""
        return len(self.user_ids)

    @property
    def lengths(self) -> np.ndarray:
        """The number of interactions of each user, `[U]` int64."""
        return np.diff(self.offsets)

    def of(self, user_row: int) -> np.ndarray:
        """Returns one user's items `[n]` int32, the oldest first."""
        return self.items[self.offsets[user_row] : self.offsets[user_row + 1]]

    def user_of(self, place: int) -> int:
        """Returns the row of the user to whom the interaction `items[place]` belongs."""
        return int(np.searchsorted(self.offsets, place, side="right")) - 1

    def without_last(self, n: int) -> Histories:
        """Returns the histories without each user's last `n` interactions; a history may become empty."""
        ends = np.repeat(self.offsets[1:], self.lengths)
        return self.keep_interactions(np.arange(len(self.items)) < ends - n)

    def keep_interactions(self, kept: np.ndarray) -> Histories:
        """Returns the same users with the interactions that a mask `[T]` bool selects; a history may become empty."""
        kept_before = np.concatenate([[0], np.cumsum(kept)])
        return dataclasses.replace(self, offsets=kept_before[self.offsets], items=self.items[kept])

    def keep_users(self, kept: np.ndarray) -> Histories:
        """Returns the users that a mask `[U]` bool selects, with all their interactions."""
        return dataclasses.replace(
            self,
            user_ids=self.user_ids[kept],
            offsets=offsets_of(self.lengths[kept]),
            items=self.items[np.repeat(kept, self.lengths)],
        )

    def padded(self, rows: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the last items of the given users as a padded array.

        Args:
          rows: `[B]` rows of users.
          window: W, the maximum number of items per user.

        Returns:
          `[B, W]` int32 items, the oldest first, left-aligned and padded with 0; and `[B]` int32 lengths.
        """
        return last_items(self.items, self.offsets[rows], self.offsets[rows + 1], window)

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all arrays, which identifies the histories."""
        digest = hashlib.sha256()
        digest.update(f"{len(self)} {len(self.item_ids)} {self.user_ids.dtype} {self.item_ids.dtype}".encode())
        for numbers in (self.offsets, self.items):
            digest.update(np.ascontiguousarray(numbers).tobytes())
        for ids in (self.user_ids, self.item_ids):
            digest.update("\n".join(map(str, ids.tolist())).encode())
        return digest.hexdigest()


def last_items(items: np.ndarray, first: np.ndarray, ends: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the last `window` items of each slice `items[first : ends]`.

    Args:
      items: `[T]` int32.
      first, ends: `[B]`, with `first <= ends`.
      window: W.

    Returns:
      `[B, W]` int32, left-aligned and padded with 0; and `[B]` int32 lengths.
    """
    lengths = np.minimum(ends - first, window)
    padded = np.zeros((len(lengths), window), np.int32)
    # The result is filled column by column: W is small, and an index of all positions would take twice the memory of
    # the result.
    for column in range(window):
        there = lengths > column
        padded[there, column] = items[(ends - lengths + column)[there]]
    return padded, lengths.astype(np.int32)


def item_counts(histories: Histories) -> np.ndarray:
    """Returns the number of interactions with each item, `[N]` int64."""
    return np.bincount(histories.items, minlength=len(histories.item_ids))


def keep_active(histories: Histories, min_interactions: int) -> Histories:
    """Drops users with fewer interactions than `min_interactions` (5 in TIGER, arXiv 2305.05065, section 4).

    Raises:
      UserError: if no user is left.
    """
    active = histories.lengths >= min_interactions
    if not active.any():
        raise UserError(
            f"no user has {min_interactions} or more interactions (the longest history has "
            f"{histories.lengths.max(initial=0)}); lower config.data.min_interactions, or give longer histories"
        )
    return histories.keep_users(active)


def offsets_of(counts: np.ndarray | list[int]) -> np.ndarray:
    """Returns `[U + 1]` int64: the starts of U consecutive slices of lengths `counts`, and the last slice's end."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
