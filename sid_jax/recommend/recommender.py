"""A trained recommender, back in Python."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from sid_jax.errors import UserError
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.ids.table import IdTable
from sid_jax.recommend.batch import HistoryBatch, Ranker, user_numbers
from sid_jax.recommend.cold.rankers import rankers_by_kind
from sid_jax.recommend.cold.slots import SlotRanker
from sid_jax.recommend.config import KINDS, check_config, default_config
from sid_jax.recommend.data.later import with_later_table
from sid_jax.recommend.models.catalog import build_catalog
from sid_jax.recommend.ranker import ModelRanker
from sid_jax.recommend.run import RESULTS_FILE, train_configured
from sid_jax.training.sharding import on_every_device
from sid_jax.training.workdir import RUN_FILE, read_run


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """An item, with its title where the ID table has one."""

    item_id: int | str
    title: str | None


class Recommender:
    """Recommends items for a history.

    Args:
      table: the catalog.
      ranker: the trained model.
      window: the most items of a history that are looked at.
      most: the longest list that can be asked for.
      by_kind: returns what recommends known items alone, and what recommends unseen ones, when first asked; None if
        there are none of these.
    """

    def __init__(
        self,
        table: IdTable,
        ranker: ModelRanker,
        window: int,
        most: int,
        by_kind: Callable[[], tuple[Ranker, Ranker]] | None = None,
    ):
        self._by_kind = None if by_kind is None else functools.cache(by_kind)
        self._table, self._ranker, self._window, self._most = table, ranker, window, most
        self._row_of = {str(item): row for row, item in enumerate(table.item_ids.tolist())}

    def recommend(
        self,
        user_history: Sequence[int | str],
        k: int = 10,
        *,
        user: int | str = "",
        exclude_seen: bool = True,
        cold_slots: int = 0,
    ) -> list[Recommendation]:
        """Returns up to k items, the best first.

        Args:
          user_history: item ids, the oldest first; at least one.
          k: at most as many as the beams of the run's config.
          user: the user's id, which only an encoder-decoder looks at.
          exclude_seen: whether items of the history are left out.
          cold_slots: how many of the k, the last ones, are for items that training had not seen: the run's cold
            items, and those of a later table.

        Raises:
          UserError: for an empty history, an item that is not in the catalog, too long a list, or more unseen slots
            than places, or any where there are no unseen items or no vectors of them.
        """
        if not 1 <= k <= self._most:
            raise UserError(f"k is {k}; it must be from 1 to {self._most}, the run's config.eval.num_beams")
        strange = [item for item in user_history if str(item) not in self._row_of]
        if strange or not len(user_history):
            raise UserError(
                f"the item {strange[0]!r} is not in the catalog" if strange else "the history is empty; give an item"
            )
        rows = np.array([self._row_of[str(item)] for item in user_history], np.int32)
        last = rows[-self._window :]
        items = np.zeros((1, self._window), np.int32)
        items[0, : len(last)] = last
        batch = HistoryBatch(items, np.array([len(last)], np.int32), user_numbers(np.array([user], object)))
        ranker = self._with_cold(cold_slots, k) if cold_slots else self._ranker
        found = ranker.recommend(batch, k, rows[None] if exclude_seen else None)[0]
        titles = self._table.titles
        return [
            Recommendation(self._table.item_ids[row : row + 1].tolist()[0], None if titles is None else titles[row])
            for row in found[found >= 0]
        ]

    def _with_cold(self, slots: int, k: int) -> Ranker:
        if self._by_kind is None:
            raise UserError(
                "there are no unseen items to recommend: the run names none in config.data.cold_items, no later table "
                "has new ones, as load_recommender(..., ids=) takes it, or the model is a SASRec, which knows none"
            )
        if not 0 < slots <= k:
            raise UserError(f"cold_slots is {slots}; it must be from 0 to k, {k}")
        return SlotRanker(self._ranker.name, *self._by_kind(), slots, k)


def load_recommender(
    workdir: str | Path,
    *,
    ids: str | Path | None = None,
    vectors: str | Path | None = None,
    vector_ids: str | Path = "",
) -> Recommender:
    """Loads what `sid-jax recommend --workdir` trained; the data it was trained on must still be there.

    Args:
      workdir: the run's folder.
      ids: a later version of the run's IDs, as `export.py --append_to` makes it: its new items are unseen ones, which a
        history may have too, and what it no longer has is not recommended. None: the run's own items.
      vectors: files with vectors of all items that may be recommended, as `config.data.path` of a quantizer names them;
        None: those of the run's `config.quantizer.data`. They are read for the first unseen slot.
      vector_ids: where these have no ids of their own, as `config.data.ids_path` of a quantizer.

    Raises:
      UserError: if there is no finished run, its data has changed, or `ids` is no later version of its IDs.
    """
    workdir = Path(workdir)
    folders = [workdir / kind for kind in KINDS if (workdir / kind / RUN_FILE).exists()]
    # Written last: a run without it would be trained on, where it should be loaded.
    if not folders or not (workdir / RESULTS_FILE).exists():
        raise UserError(
            f"{workdir} holds no finished recommender: train one with sid-jax recommend --workdir={workdir}"
        )
    config, _ = read_run(folders[0], default_config())
    check_config(config)
    silent = Console(file=io.StringIO())
    begun = train_configured(config, workdir, silent, quiet=True)
    assert begun is not None  # it was finished
    task, trained = begun
    ranker = trained.ranker
    if ids is not None:
        if config.model.kind == "sasrec":
            raise UserError(f"{workdir} holds a SASRec, which cannot know of later items: it looks at no Semantic IDs")
        task = with_later_table(task, read_id_table(*parse_id_source(str(ids))))
        ranker = ranker.over(on_every_device(build_catalog(task.table.semantic_ids, task.trie), ranker.mesh))
    if vectors is not None:
        config = _with_vectors(config, vectors, vector_ids)
    # A SASRec scores the items that it was trained with, and no others.
    unseen = config.model.kind != "sasrec" and task.split.cold[np.asarray(task.trie.items)].any()
    by_kind = functools.partial(rankers_by_kind, config, task, ranker) if unseen else None
    return Recommender(task.table, ranker, config.model.window, config.eval.num_beams, by_kind)


def _with_vectors(config: ConfigDict, vectors: str | Path, vector_ids: str | Path) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    data = changed.quantizer.data
    if data.source != "vectors":  # files of a catalog have no later items
        data.source, data.text_column = "vectors", ""
    data.path, data.ids_path = str(vectors), str(vector_ids)
    return changed
