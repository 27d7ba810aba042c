"""Recommendation lists for any number of histories of any length, with few compiled shapes."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from sid_jax.data.arrays import UNORDERED
from sid_jax.data.id_lists import dropped, likely_cause
from sid_jax.errors import UserError, shown
from sid_jax.messages import LOGGER
from sid_jax.precision import in_32_bits
from sid_jax.recommend.artifact import TrainedRecommender
from sid_jax.recommend.batch import HistoryBatch, user_numbers
from sid_jax.recommend.config import EXPLAINED, WITH_COLD_SLOTS

# Possible numbers of histories in a compiled call. A batch of another size is split, or padded to the next larger of
# these numbers.
_SIZES = (1, 16, 256)


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """A recommended item.

    Attributes:
      item_id: as in the ID table.
      title: from the ID table; None if the table has no titles.
      score: the natural logarithm of a probability, 0 or less. The probability is the model's probability of the item's
        Semantic ID, or of the item if the model scores items. For an empty history, the probability is the item's share
        of the training interactions, with 1 added to each item's count. The score of a cold item in a slot for cold
        items is only comparable with scores of other cold items.
    """

    item_id: int | str
    title: str | None
    score: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The contributions to an item's score after a history.

    Attributes:
      item_id: as in the ID table.
      score: see `Recommendation`.
      shares: for each component of the item's vector ("item", "codes", "content") and each term of the blend
        ("transitions", "content", "popularity"), the contribution to the item's logit minus the average contribution
        over all items that may be recommended. The entry "content" is the sum for the component and the term of this
        name. The sum of the shares is the item's logit minus the average logit.
    """

    item_id: int | str
    score: float
    shares: dict[str, float]


class Server:
    """Serves recommendations from a trained recommender.

    Args:
      trained: the recommender.

    Attributes:
      num_unknown: number of history items that the last call dropped because they are not in the ID table.
    """

    def __init__(self, trained: TrainedRecommender):
        self._trained, self._candidates = trained, trained.candidates
        self.num_unknown = 0

    def recommend(
        self,
        histories: Sequence[Any],
        k: int,
        *,
        users: Sequence[int | str] | None,
        exclude_seen: bool,
        cold_slots: int,
        on_unknown: str,
        exact: bool,
    ) -> list[list[Recommendation]]:
        """Returns a list of up to k items for each history; see `sid_jax.recommender.Recommender`.

        Raises:
          UserError: if an argument is not allowed, or an item is unknown and `on_unknown` is "error".
        """
        if isinstance(histories, (str, bytes)) or not hasattr(histories, "__iter__"):
            raise UserError(f"histories is {histories!r}; give a list of lists of item ids")
        histories = [_listed(history) for history in histories]
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise UserError(f"k is {k!r}; it must be a number of items, 1 or more")
        users = [""] * len(histories) if users is None else users
        if len(users) != len(histories):
            raise UserError(f"{len(users)} users are given for {len(histories)} histories; give one user per history")
        self._refuse_slots(cold_slots, k)
        is_dropped = dropped(on_unknown)
        rows = [self._rows(history, is_dropped) for history in histories]
        self.num_unknown = sum(map(len, histories)) - sum(map(len, rows))
        if self.num_unknown:
            LOGGER.warning(
                "%d of %d items of the histories are not in the ID table and were dropped",
                self.num_unknown,
                sum(map(len, histories)),
            )
        k = min(k, len(self._candidates.available))
        found = np.full((len(rows), k), -1, np.int32)
        scores = np.full((len(rows), k), -np.inf, np.float32)
        lengths = np.array([len(each) for each in rows], np.int64)
        if (lengths == 0).any():
            found[lengths == 0], scores[lengths == 0] = self._candidates.most_popular(k)

        def find(chosen: np.ndarray, batch: HistoryBatch) -> tuple[np.ndarray, np.ndarray]:
            exclude = _padded([rows[each] for each in chosen], batch.items.shape[1]) if exclude_seen else None
            return self._find(batch, k, exclude, cold_slots, exact)

        batches = list(self._batches(rows, lengths, users))
        for (chosen, _), lists in zip(batches, self._side_by_side(find, batches, exact), strict=True):
            # A batch is padded with repeated histories. Their lists are written several times, with the same values.
            found[chosen], scores[chosen] = lists
        return [self._named(*each) for each in zip(found, scores, strict=True)]

    def explain(self, history: Any, item: int | str) -> Explanation:
        """Returns the contributions to an item's score after a history; see `sid_jax.recommender.Recommender`.

        Raises:
          UserError: if the model is not of the kind scorer or sasrec, no item of the history is known, or the item
            cannot be recommended.
        """
        kind = self._trained.config.model.kind
        if kind not in EXPLAINED:
            raise UserError(
                f"a model of the kind {kind!r} predicts codes, so its scores cannot be explained; use a Recommender of "
                "the kind 'scorer'"
            )
        rows, wanted = self._rows(_listed(history), True), self._row_of.get(str(item), -1)
        if not len(rows):
            raise UserError("no item of the history is in the ID table; give a history with items of the table")
        if wanted not in self._candidates.available:
            raise UserError(f"the item {item!r} cannot be recommended; explain an item that recommend() returns")
        _, batch = next(self._batches([rows], np.array([len(rows)]), [""]))
        score, shares = self._trained.ranker.explain(batch, wanted)
        return Explanation(self._candidates.table.item_ids[wanted : wanted + 1].tolist()[0], score, shares)

    def _refuse_slots(self, slots: int, k: int) -> None:
        if not 0 <= slots <= k:
            raise UserError(f"cold_slots is {slots}; it must be from 0 to k={k}")
        if not slots:
            return
        kind = self._trained.config.model.kind
        if kind not in WITH_COLD_SLOTS:
            raise UserError(
                f"the lists of a model of the kind {kind!r} have no slots for cold items; set cold_slots to 0"
            )
        if not self._candidates.has_cold:
            raise UserError(
                "there are no cold items to recommend, since the recommender was trained without "
                "config.data.cold_items; give a newer ID table with load_recommender(..., ids=) or with_catalog(ids), "
                "or leave cold_slots at 0"
            )
        if self._candidates.content is None:
            raise UserError(
                "cold items are scored by their vectors, but the recommender has none; give them with "
                "load_recommender(..., vectors=) or with_catalog(ids, vectors=)"
            )

    @functools.cached_property
    def _row_of(self) -> dict[str, int]:
        return dict(zip(map(str, self._candidates.table.item_ids.tolist()), range(len(self._candidates.table))))  # noqa: B905

    def _rows(self, history: Any, is_dropped: bool) -> np.ndarray:
        found = [self._row_of.get(str(item), -1) for item in history]
        if not is_dropped and -1 in found:
            rows, names = np.array(found), list(history)
            unknown = [str(name) for name, row in zip(names, found, strict=True) if row < 0]
            cause = likely_cause(unknown, rows[rows >= 0], self._candidates.table.item_ids)
            raise UserError(
                f"the item {names[found.index(-1)]!r} is not in the ID table; "
                + (cause or "remove it from the history, or pass on_unknown='drop'")
            )
        rows = np.array(found, np.int32)
        return rows[rows >= 0]

    def _batches(
        self, rows: list[np.ndarray], lengths: np.ndarray, users: Sequence[int | str]
    ) -> Iterator[tuple[np.ndarray, HistoryBatch]]:
        """Yields batches of the non-empty histories, padded to a few shapes, each with the indices of its histories."""
        window, devices = self._trained.config.model.window, self._trained.ranker.mesh.size
        sizes = sorted({-(-size // devices) * devices for size in _SIZES})
        short = max(1, window // 4)
        for width, group in (
            (short, np.flatnonzero((lengths > 0) & (lengths <= short))),
            (window, np.flatnonzero(lengths > short)),
        ):
            for part in _parts(group, sizes, splits=self._trained.ranker.mesh.devices.flat[0].platform == "cpu"):
                chosen = np.resize(part, next(size for size in sizes if size >= len(part)))
                items = np.zeros((len(chosen), width), np.int32)
                for place, each in enumerate(chosen):
                    last = rows[each][-width:]
                    items[place, : len(last)] = last
                numbers = user_numbers(np.array([users[int(each)] for each in chosen], object))
                yield chosen, HistoryBatch(items, np.minimum(lengths[chosen], width).astype(np.int32), numbers)

    def _side_by_side(self, find: Callable[..., Any], batches: list[Any], exact: bool) -> Iterator[Any]:
        """Returns the result of `find` for each batch.

        Approximate searches compute exact scores only for a shortlist of items. They run in threads, since each of them
        uses one core.
        """
        if exact or len(batches) < 2 or self._trained.ranker.shortlist is None:
            return itertools.starmap(find, batches)
        with concurrent.futures.ThreadPoolExecutor(min(len(batches), os.cpu_count() or 1)) as threads:
            # `in_32_bits` is applied in each thread, since JAX's precision setting is separate for each thread.
            return threads.map(in_32_bits(find), *zip(*batches, strict=True))

    def _find(
        self, batch: HistoryBatch, k: int, exclude: np.ndarray | None, cold_slots: int, exact: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        window = self._trained.config.model.window
        if not cold_slots:
            return self._trained.ranker.full_lists(batch, k, exclude, window, exact=exact)
        from sid_jax.recommend.cold.rankers import slot_order

        known_ranker, cold_ranker = self._by_kind
        known, known_scores = known_ranker.full_lists(batch, k, exclude, window, exact=exact)
        cold, cold_scores = cold_ranker.scored(batch, cold_slots, exclude)
        order = slot_order(known, cold, cold_slots, places=k)[:, :k]
        lists, scores = np.concatenate([known, cold], axis=1), np.concatenate([known_scores, cold_scores], axis=1)
        return np.take_along_axis(lists, order, axis=1), np.take_along_axis(scores, order, axis=1)

    @functools.cached_property
    def _by_kind(self) -> tuple[Any, Any]:
        from sid_jax.recommend.cold.rankers import rankers_by_kind

        trained = self._trained
        return rankers_by_kind(trained.config, self._candidates, trained.ranker)

    def _named(self, rows: np.ndarray, scores: np.ndarray) -> list[Recommendation]:
        table, there = self._candidates.table, rows >= 0
        ids = table.item_ids[rows[there]].tolist()
        titles = self._titles
        named = [None] * len(ids) if titles is None else titles[rows[there]].tolist()
        return [Recommendation(*each) for each in zip(ids, named, scores[there].tolist(), strict=True)]

    @functools.cached_property
    def _titles(self) -> np.ndarray | None:
        return self._candidates.table.titles


def _parts(group: np.ndarray, sizes: list[int], *, splits: bool) -> Iterator[np.ndarray]:
    """Splits a group of histories into parts, each of which will be padded to the next larger size.

    On a CPU, the time of a call is about proportional to its size. With `splits`, histories that would fill at most
    half of the largest size are therefore split into parts of the second largest size.
    """
    largest, smaller = sizes[-1], sizes[-2] if splits and len(sizes) > 1 else sizes[-1]
    while len(group):
        size = largest if len(group) > largest // 2 else smaller
        yield group[:size]
        group = group[size:]


def _padded(rows: list[np.ndarray], width: int) -> np.ndarray:
    """Returns the row numbers of each history's items as one array `[B, S]` int32, padded with -1.

    The number of retrieved items, and therefore the compiled program, depends on S. Since S is at least `width`, all
    histories of at most `width` items share a program.
    """
    items = np.full((len(rows), max(width, *map(len, rows))), -1, np.int32)
    for place, each in enumerate(rows):
        items[place, : len(each)] = each
    return items


def _listed(history: Any) -> list[Any]:
    """Returns a history, given as any kind of sequence, as a list of item ids."""
    if isinstance(history, (str, bytes, *UNORDERED)) or not hasattr(history, "__iter__"):
        raise UserError(f"a history is {shown(history)}; give a list of item ids, the oldest first")
    items = history.tolist() if isinstance(history, np.ndarray) else list(history)
    strange = [item for item in items if not isinstance(item, (int, str, np.integer))]
    if strange:
        raise UserError(f"a history contains {strange[0]!r}; give a list of item ids, which are whole numbers or text")
    return items
