"""Loads a recommendation task: a catalog with IDs and titles, and histories split for training and evaluation."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from sid_jax.data.histories import Histories, item_counts, keep_active
from sid_jax.data.id_lists import UNKNOWN_OPTION, read_item_list
from sid_jax.data.load import load_vectors
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.ids.table import IdTable
from sid_jax.ids.trie import Trie
from sid_jax.messages import LOGGER
from sid_jax.paths import as_path
from sid_jax.recommend.config import MADE_IDS
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.data.content import content_of
from sid_jax.recommend.data.id_makers import make_ids
from sid_jax.recommend.data.quantizer import BAD_ROWS_OPTION, quantizer_config
from sid_jax.recommend.data.split import Split, configured_histories, leave_one_out, refuse_seen_targets


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A recommendation task: a catalog and its users' histories.

    Attributes:
      candidates: the N items with their Semantic IDs; all of them may be recommended.
      split: the users' split histories, whose items are row numbers of the table.
    """

    candidates: Candidates
    split: Split

    @property
    def table(self) -> IdTable:
        """The ID table of the N items."""
        return self.candidates.table

    @property
    def trie(self) -> Trie:
        """The trie of all IDs."""
        return self.candidates.trie

    @property
    def known(self) -> Trie:
        """The trie of the IDs of warm items."""
        return self.candidates.known

    def fingerprint(self, *, with_content: bool = False) -> str:
        """Returns the SHA-256 of IDs and histories, and of the content vectors if `with_content`."""
        parts = [self.table.fingerprint(), self.split.train.fingerprint()]
        parts += [examples.histories.fingerprint() for examples in (self.split.validation, self.split.test)]
        if self.split.cold.any():  # Training depends on which items are cold, since it excludes them.
            parts.append(self.split.cold.tobytes().hex())
        if with_content and self.candidates.content is not None:
            parts.append(hashlib.sha256(np.ascontiguousarray(self.candidates.content).tobytes()).hexdigest())
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def load_task(config: ConfigDict, trained_ids: Path | None = None) -> Task:
    """Loads the task of a config.

    Args:
      config: from `sid_jax.recommend.config`.
      trained_ids: if `config.ids` is "rqvae", the export that the function `train_ids` returned.

    Raises:
      UserError: if the data cannot be used.
    """
    table = load_ids(config, trained_ids)
    split = load_split(config, table.item_ids)
    return make_task(table, split, content=content_of(config, table.item_ids, split.cold))


def make_task(
    table: IdTable, split: Split, sizes: Sequence[int] | None = None, content: np.ndarray | None = None
) -> Task:
    """Returns the task of a table and its histories. The training histories give the popularity of the items.

    Args:
      table: the N items.
      split: the histories over these items.
      sizes: K of each level. If it is None, K is the level's largest code plus 1.
      content: `[N, D]` float32, see `Candidates`.
    """
    return Task(Candidates.of(table, item_counts(split.train), split.cold, sizes, content), split)


def load_ids(config: ConfigDict, trained_ids: Path | None = None, *, catalog: np.ndarray | None = None) -> IdTable:
    """Returns the ID table of `config.ids`: it is read from a file, or computed by a method without training.

    Args:
      config: from `sid_jax.recommend.config`.
      trained_ids: see `load_task`.
      catalog: `[N]`, ids of the items that get random IDs; None for all items that have vectors.
    """
    if config.ids == "rqvae":
        if trained_ids is None:
            raise ValueError("config.ids is 'rqvae'; train a quantizer first, and set config.ids to its export")
        return read_id_table(trained_ids)
    if config.ids in MADE_IDS:
        sizes = {"num_levels": config.made_levels, "num_codes": config.made_codes, "seed": config.seed}
        if config.ids == "random" and catalog is not None:
            return make_ids("random", catalog, None, **sizes)
        data = load_vectors(quantizer_config(config).data, option=BAD_ROWS_OPTION)
        table = make_ids(config.ids, data.ids, data.vectors, cold=data.cold, **sizes)
        return table.replace(columns={name: data.columns[name] for name in ("title",) if name in data.columns})
    path, offset = parse_id_source(config.ids)
    return read_id_table(path, offset)


def load_split(config: ConfigDict, item_ids: np.ndarray) -> Split:
    """Loads the histories of `config.data` over the catalog with the item ids `[N]`, and splits them."""
    return divide(config, configured_histories(config, item_ids))


def divide(config: ConfigDict, histories: Histories) -> Split:
    """Drops users with too few interactions, and splits the histories; `config.data` names the cold items.

    Raises:
      UserError: if nothing is left to train on; or if `config.eval.exclude_seen` is set, but most test targets are seen
        items.
    """
    num_users, least = len(histories), config.data.min_interactions
    histories = keep_active(histories, least)
    if num_dropped := num_users - len(histories):
        words = "%s of %s users have fewer than %s interactions (data.min_interactions) and were dropped"
        LOGGER.warning(words, f"{num_dropped:,}", f"{num_users:,}", least)
    cold = config.data.cold_items
    on_unknown = config.data.on_unknown
    split = leave_one_out(
        histories, read_item_list(as_path(cold), histories.item_ids, on_unknown, UNKNOWN_OPTION) if cold else None
    )
    if config.eval.exclude_seen:
        refuse_seen_targets(split)
    return split
