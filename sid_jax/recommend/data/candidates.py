"""The candidate items of a recommender, as arrays on the host: IDs, popularity, content, and which items are cold."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np

from sid_jax.errors import UserError
from sid_jax.ids.convert import common_rows
from sid_jax.ids.table import IdTable
from sid_jax.ids.trie import Trie, build_trie
from sid_jax.recommend.data.blend import Blend


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """A catalog of N items, of which some or all may be recommended. The tries are built at first use.

    Attributes:
      table: the items with their Semantic IDs.
      popularity: `[N]` int64, number of interactions in training. Items that share an ID are ranked by popularity.
      cold: `[N]` bool, the items on which the model was not trained.
      sizes: K of each level, the number of codes that have an embedding in the model.
      available: `[n]` row numbers of the items that may be recommended.
      num_trained: number of items in the table when the model was trained. These items are the first rows of the
        current table.
      content: `[N, D]` float32 content vectors of length 1, zeros for an item without content; None if none are used.
      blend: terms that are added to a model's scores of items; None if there are none.
    """

    table: IdTable
    popularity: np.ndarray
    cold: np.ndarray
    sizes: tuple[int, ...]
    available: np.ndarray
    num_trained: int
    content: np.ndarray | None = None
    blend: Blend | None = None

    @classmethod
    def of(
        cls,
        table: IdTable,
        popularity: np.ndarray,
        cold: np.ndarray,
        sizes: Sequence[int] | None = None,
        content: np.ndarray | None = None,
    ) -> Candidates:
        """Returns the candidates of a table, all of which may be recommended.

        Args:
          table, popularity, cold, content: see the attributes.
          sizes: K of each level; None takes one more than the level's largest code in the table.
        """
        known = tuple(sizes or (table.semantic_ids.max(axis=0) + 1).tolist())
        return cls(table, popularity, cold, known, np.arange(len(table)), len(table), content)

    @functools.cached_property
    def trie(self) -> Trie:
        """The trie of the IDs that may be recommended."""
        return self._trie_of(self.available)

    @functools.cached_property
    def known(self) -> Trie:
        """The trie of the IDs of warm items that may be recommended; these items are the candidates in training."""
        warm = self.available[~self.cold[self.available]]
        return self.trie if len(warm) == len(self.available) else self._trie_of(warm)

    @functools.cached_property
    def cold_trie(self) -> Trie:
        """The trie of the IDs of cold items that may be recommended; there must be at least one."""
        return self._trie_of(self.available[self.cold[self.available]])

    @property
    def has_cold(self) -> bool:
        """Whether a cold item may be recommended."""
        return bool(self.cold[self.available].any())

    def most_popular(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the most popular items, `[count]` int32, and the logarithm of each item's share of the interactions.

        Equally popular items are in the order of the table.
        """
        counts = self.popularity[self.available]
        order = np.argsort(-counts, kind="stable")[:count]
        # Add one to each count, so that no share is 0.
        shares = (counts[order] + 1) / (counts.sum() + len(counts))
        return self.available[order].astype(np.int32), np.log(shares).astype(np.float32)

    def with_newer_table(self, newer: IdTable) -> Candidates:
        """Returns the candidates of a newer version of the table, for a model that was trained on the older one.

        Items of the older version keep their rows, so that histories may contain all of them. New items come after
        them, are cold, and have no content vectors. Only items of the newer version may be recommended.

        Args:
          newer: the current items and their IDs, in any order.

        Raises:
          UserError: if `newer` is not a newer version of the same table, or has a code without an embedding in the
            model.
        """
        old = self.table
        ours, theirs = common_rows(old.item_ids, newer.item_ids)
        _refuse_another_table(old, newer, ours, theirs)
        is_new = np.ones(len(newer), bool)
        is_new[theirs] = False
        new = np.flatnonzero(is_new)
        _refuse_unknown_codes(newer, new, self.sizes)
        if not (~self.cold[ours]).any():
            raise UserError(
                f"{newer.name} has none of the items that the recommender was trained on; give a newer version of "
                "the recommender's ID table"
            )
        return Candidates(
            _followed_by(old, newer, new),
            np.pad(self.popularity, (0, len(new))),
            np.pad(self.cold, (0, len(new)), constant_values=True),
            self.sizes,
            np.append(ours, np.arange(len(old), len(old) + len(new))),
            self.num_trained,
            # New items get zero vectors, since the saved content has no vectors for them.
            None if self.content is None else np.pad(self.content, ((0, len(new)), (0, 0))),
            None if self.blend is None else self.blend.with_more_items(len(new)),
        )

    def _trie_of(self, rows: np.ndarray) -> Trie:
        # The trie is cached, so it must hold concrete arrays even if it is first used inside a traced function.
        with jax.ensure_compile_time_eval():
            return build_trie(self.table.semantic_ids, self.sizes, self.popularity, rows)


def _refuse_another_table(old: IdTable, newer: IdTable, ours: np.ndarray, theirs: np.ndarray) -> None:
    levels, expected = newer.semantic_ids.shape[1], old.semantic_ids.shape[1]
    if levels != expected:
        raise UserError(
            f"{newer.name}: its Semantic IDs have {levels} codes, but the recommender was trained on IDs of "
            f"{expected} codes; give a version that sid-jax export --append_to made from the recommender's IDs"
        )
    moved = np.flatnonzero((old.semantic_ids[ours] != newer.semantic_ids[theirs]).any(axis=1))
    if len(moved):
        row = ours[moved[0]]
        raise UserError(
            f"{newer.name}: {len(moved)} items have other Semantic IDs than in the recommender's training; the first "
            f"one is {old.item_ids[[row]].tolist()[0]!r}, with {newer.semantic_ids[theirs[moved[0]]].tolist()} in the "
            f"table and {old.semantic_ids[row].tolist()} in training; give a version that sid-jax export --append_to "
            "made from the recommender's IDs"
        )


def _refuse_unknown_codes(newer: IdTable, new: np.ndarray, sizes: tuple[int, ...]) -> None:
    unknown = np.argwhere(newer.semantic_ids[new] >= np.array(sizes))
    if len(unknown):
        (row, level), number = unknown[0], len(np.unique(unknown[:, 0]))
        raise UserError(
            f"{newer.name}: {number} new items have codes that the recommender was not trained with; the first one is "
            f"{newer.item_ids[[new[row]]].tolist()[0]!r}, whose code {newer.semantic_ids[new[row], level]} at level "
            f"{level + 1} is not one of the {sizes[level]} codes that the recommender has at this level; train on this "
            "version, or drop these items"
        )


def _followed_by(old: IdTable, newer: IdTable, new: np.ndarray) -> IdTable:
    titles = None
    if old.titles is not None or newer.titles is not None:
        titles = np.concatenate([_titles(old), _titles(newer)[new]])
    return IdTable(
        np.concatenate([old.item_ids, newer.item_ids[new]]),
        np.concatenate([old.semantic_ids, newer.semantic_ids[new]]),
        columns=None if titles is None else {"title": titles},
        name=old.name,
        id_name=old.id_name,
        shared=True,
    )


def _titles(table: IdTable) -> np.ndarray:
    return np.full(len(table), None) if table.titles is None else table.titles
