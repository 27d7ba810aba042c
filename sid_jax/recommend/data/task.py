"""What the config asks for, loaded: a catalog with IDs and titles, and histories divided for training and tests."""

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
from sid_jax.paths import as_path
from sid_jax.recommend.config import MADE_IDS
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.data.content import content_of
from sid_jax.recommend.data.id_makers import make_ids
from sid_jax.recommend.data.quantizer import quantizer_config
from sid_jax.recommend.data.split import Split, configured_histories, leave_one_out, refuse_seen_targets


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A catalog and its users.

    Attributes:
      candidates: the N items with their Semantic IDs; all of them may be recommended.
      split: the users' histories, in rows of the table.
    """

    candidates: Candidates
    split: Split

    @property
    def table(self) -> IdTable:
        """The N items."""
        return self.candidates.table

    @property
    def trie(self) -> Trie:
        """Of all IDs."""
        return self.candidates.trie

    @property
    def known(self) -> Trie:
        """Of the IDs of items that are not cold."""
        return self.candidates.known

    def fingerprint(self, *, with_content: bool = False) -> str:
        """Returns the SHA-256 of IDs and histories, and of the content vectors where a model trains on them."""
        parts = [self.table.fingerprint(), self.split.train.fingerprint()]
        parts += [examples.histories.fingerprint() for examples in (self.split.validation, self.split.test)]
        if self.split.cold.any():  # which say what a model learns to tell apart
            parts.append(self.split.cold.tobytes().hex())
        if with_content and self.candidates.content is not None:
            parts.append(hashlib.sha256(np.ascontiguousarray(self.candidates.content).tobytes()).hexdigest())
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def load_task(config: ConfigDict, trained_ids: Path | None = None) -> Task:
    """Loads what the config names.

    Args:
      config: as from `sid_jax.recommend.config`.
      trained_ids: the export that IDs "rqvae" are read from, as `data.quantizer.train_ids` returns it.

    Raises:
      UserError: for data that cannot be used.
    """
    table = load_ids(config, trained_ids)
    split = load_split(config, table.item_ids)
    return make_task(table, split, content=content_of(config, table.item_ids, split.cold))


def make_task(
    table: IdTable, split: Split, sizes: Sequence[int] | None = None, content: np.ndarray | None = None
) -> Task:
    """Returns the task of a table and histories in its rows; items that share an ID rank by popularity in training.

    Args:
      table: the N items.
      split: their histories.
      sizes: K of each level; None: one more than the level's largest code.
      content: `[N, D]` float32, as of `Candidates`.
    """
    return Task(Candidates.of(table, item_counts(split.train), split.cold, sizes, content), split)


def load_ids(config: ConfigDict, trained_ids: Path | None = None, *, catalog: np.ndarray | None = None) -> IdTable:
    """Returns the ID table that `config.ids` names, read or made without training.

    Args:
      config: as from `sid_jax.recommend.config`.
      trained_ids: as of `load_task`.
      catalog: `[N]` item ids that random IDs are for; None for those of the vectors.
    """
    if config.ids == "rqvae":
        if trained_ids is None:
            raise ValueError("IDs 'rqvae' are trained first, and read from the export that was made of them")
        return read_id_table(trained_ids)
    if config.ids in MADE_IDS:
        sizes = {"num_levels": config.made_levels, "num_codes": config.made_codes, "seed": config.seed}
        if config.ids == "random" and catalog is not None:
            return make_ids("random", catalog, None, **sizes)
        data = load_vectors(quantizer_config(config).data)
        table = make_ids(config.ids, data.ids, data.vectors, cold=data.cold, **sizes)
        return table.replace(columns={name: data.columns[name] for name in ("title",) if name in data.columns})
    path, offset = parse_id_source(config.ids)
    return read_id_table(path, offset)


def load_split(config: ConfigDict, item_ids: np.ndarray) -> Split:
    """Returns the histories of `config.data` over the catalog `[N]`, divided."""
    return divide(config, configured_histories(config, item_ids))


def divide(config: ConfigDict, histories: Histories) -> Split:
    """Returns histories without the users who have too few interactions, divided; `config.data` says who is cold.

    Raises:
      UserError: if nothing is left to learn from, or most targets of the test can be in no list.
    """
    histories = keep_active(histories, config.data.min_interactions)
    cold = config.data.cold_items
    on_unknown = config.data.on_unknown
    split = leave_one_out(
        histories, read_item_list(as_path(cold), histories.item_ids, on_unknown, UNKNOWN_OPTION) if cold else None
    )
    if config.eval.exclude_seen:
        refuse_seen_targets(split)
    return split
