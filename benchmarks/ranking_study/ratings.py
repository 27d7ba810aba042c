"""Ratings in chronological order, and the user's features before each rating."""

from __future__ import annotations

import dataclasses
import hashlib

import jax
import numpy as np

from sid_jax.data.catalogs.movielens.tables import MovieLens
from sid_jax.errors import UserError
from sid_jax.streams import stream_rng

# A user's share of likes is shrunk toward the global share: this many ratings with the global share of likes are added
# to the user's own ratings.
_PRIOR = 5.0
_YEARS_A_GROUP = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Ratings:
    """R ratings of N items by U users, the earliest first.

    Attributes:
      item_ids: `[N]`.
      users: `[R]` int32, the row number of each rating's user in `traits`.
      items: `[R]` int32, the position of each rating's item in `item_ids`.
      liked: `[R]` bool.
      times: `[R]` int64, seconds.
      traits: `[U, F]` int32, categorical features of each user; F may be 0.
      num_train: number of training ratings. The first ratings are for training, and the others are for the test.
    """

    item_ids: np.ndarray
    users: np.ndarray
    items: np.ndarray
    liked: np.ndarray
    times: np.ndarray
    traits: np.ndarray
    num_train: int

    @property
    def trait_sizes(self) -> tuple[int, ...]:
        """The number of values of each trait."""
        return tuple((self.traits.max(axis=0) + 1).tolist()) if self.traits.size else ()

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all arrays."""
        digest = hashlib.sha256("\n".join(map(str, [self.num_train, *self.item_ids.tolist()])).encode())
        for each in (self.users, self.items, self.liked, self.times, self.traits):
            digest.update(np.ascontiguousarray(each).tobytes())
        return digest.hexdigest()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Examples:
    """B ratings to predict, with the features of their users before each rating, as NumPy or JAX arrays.

    Attributes:
      items: `[B]` int32, rows of the catalog.
      liked: `[B]` bool, the target.
      history: `[B, H]` int32, the items that the user rated last, the latest first; padded with -1.
      history_liked: `[B, H]` bool.
      figures: `[B, 2]` float32. The first value is the share of likes in the user's ratings so far, shrunk toward the
        global share, minus the global share. The second value is log(1 + number of the user's ratings so far).
      traits: `[B, F]` int32.
    """

    items: jax.Array | np.ndarray
    liked: jax.Array | np.ndarray
    history: jax.Array | np.ndarray
    history_liked: jax.Array | np.ndarray
    figures: jax.Array | np.ndarray
    traits: jax.Array | np.ndarray


def make_ratings(catalog: MovieLens, *, liked_from: float, until: float, train_share: float) -> Ratings:
    """Returns the ratings of a catalog, split in time into training and test.

    Args:
      catalog: MovieLens.
      liked_from: the minimum number of stars of a like.
      until: the share of all ratings to use. The earliest ratings are used.
      train_share: the share of the used ratings that is for training. The earliest ratings are for training.

    Raises:
      UserError: if the training ratings or the test ratings have only likes, or no likes.
    """
    table = catalog.ratings
    order = np.argsort(table["timestamp"], kind="stable")
    order = order[: round(until * len(order))]
    num_train = round(train_share * len(order))
    liked = table["rating"][order] >= liked_from
    for name, part in (("train on", liked[:num_train]), ("test", liked[num_train:])):
        if not 0 < part.sum() < len(part):
            raise UserError(
                f"{catalog.source}: of {len(part)} ratings to {name}, {part.sum()} have "
                f"config.data.liked_from={liked_from:g} stars or more, so there is nothing to predict; change "
                "config.data.liked_from, config.data.until or config.data.train_share"
            )
    return Ratings(
        item_ids=catalog.items["item_id"],
        users=np.searchsorted(catalog.users["user_id"], table["user_id"][order]).astype(np.int32),
        items=np.searchsorted(catalog.items["item_id"], table["item_id"][order]).astype(np.int32),
        liked=liked,
        times=table["timestamp"][order],
        traits=_traits(catalog),
        num_train=num_train,
    )


def cold_items(ratings: Ratings, share: float, run: int, seed: int) -> np.ndarray:
    """Returns the cold items of a run, `[N]` bool: a share of all items, and items without training ratings.

    The items are divided at random into groups, each of which has this share of the items. The cold items of
    consecutive runs are consecutive groups. After the last group, the items are divided again.
    """
    num_items = len(ratings.item_ids)
    parts = int(1 / share)
    # If the groups do not cover all items, the remaining items form a smaller group that is never cold.
    part_of = stream_rng(seed + run // parts, "cold_items").permutation(num_items) % (1 / share) // 1
    dealt = part_of == run % parts
    rated = np.zeros(num_items, bool)
    rated[ratings.items[: ratings.num_train]] = True
    return dealt | ~rated


def make_examples(ratings: Ratings, cold: np.ndarray, window: int) -> Examples:
    """Returns an example for each of the R training and test ratings. Histories omit the ratings of cold items.

    The features of a user are computed only from ratings of earlier seconds, since ratings of the same second were
    given together.

    Args:
      ratings: R ratings.
      cold: `[N]` bool.
      window: H, the maximum number of ratings in a history.
    """
    known = ~cold[ratings.items]
    # Ratings are sorted by user, and by time within a user.
    order = np.lexsort((np.arange(len(known)), ratings.times, ratings.users))
    users, times = ratings.users[order], ratings.times[order]
    same = (users[1:] == users[:-1]) & (times[1:] == times[:-1])
    first_of_second = np.maximum.accumulate(np.where(np.concatenate([[True], ~same]), np.arange(len(order)), 0))
    first_of_user = np.searchsorted(users, users, side="left")
    # The positions of known ratings, and the number of known ratings before each position.
    places = np.flatnonzero(known[order])
    before = np.concatenate([[0], np.cumsum(known[order])])
    begin, end = before[first_of_user], before[first_of_second]
    back = end[:, None] - 1 - np.arange(window)
    there = back >= begin[:, None]
    chosen = order[places[np.where(there, back, 0)]]
    likes = np.concatenate([[0], np.cumsum(ratings.liked[order[places]])])
    trained = known[: ratings.num_train]
    mean = float(ratings.liked[: ratings.num_train][trained].mean())
    count, liked = end - begin, likes[end] - likes[begin]
    share = (liked + _PRIOR * mean) / (count + _PRIOR) - mean
    in_time = np.argsort(order)
    return Examples(
        items=ratings.items,
        liked=ratings.liked,
        history=np.where(there, ratings.items[chosen], -1).astype(np.int32)[in_time],
        history_liked=(there & ratings.liked[chosen])[in_time],
        figures=np.stack([share, np.log1p(count)], axis=1).astype(np.float32)[in_time],
        traits=ratings.traits[ratings.users],
    )


def _traits(catalog: MovieLens) -> np.ndarray:
    """Returns the categorical user features of MovieLens-100K and 1M as numbers."""
    users = catalog.users
    columns = [users[name] for name in ("age", "gender", "occupation") if name in users]
    if columns and columns[0].dtype.kind in "iu":
        columns[0] = columns[0] // _YEARS_A_GROUP
    numbers = [np.unique(column.astype(str), return_inverse=True)[1].reshape(-1) for column in columns]
    return np.stack(numbers, axis=1).astype(np.int32) if numbers else np.zeros((len(users["user_id"]), 0), np.int32)
