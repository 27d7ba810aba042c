"""What the config asks for, loaded: a catalog with IDs and titles, and histories divided for training and tests."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from sid_jax.data.histories import item_counts, keep_active
from sid_jax.data.id_lists import read_item_list
from sid_jax.data.load import load_histories, load_vectors
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.ids.table import IdTable
from sid_jax.ids.trie import Trie, build_trie
from sid_jax.recommend.config import MADE_IDS
from sid_jax.recommend.data.id_makers import make_ids
from sid_jax.recommend.data.quantizer import quantizer_config, train_ids
from sid_jax.recommend.data.split import Split, leave_one_out


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A catalog and its users.

    Attributes:
      table: the N items with their Semantic IDs.
      split: the users' histories, in rows of the table.
      trie: of the IDs that may be recommended, here all; items that share one are in the order of their popularity in
        training.
      known: the same without cold items: what a model is trained to tell apart.
    """

    table: IdTable
    split: Split
    trie: Trie
    known: Trie

    def fingerprint(self) -> str:
        """Returns the SHA-256 of IDs and histories."""
        parts = [self.table.fingerprint(), self.split.train.fingerprint()]
        parts += [cold.histories.fingerprint() for cold in (self.split.validation, self.split.test)]
        if self.split.cold.any():  # which say what a model learns to tell apart
            parts.append(self.split.cold.tobytes().hex())
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def load_task(config: ConfigDict, workdir: Path, console: Console) -> Task:
    """Loads what the config names; IDs "rqvae" are trained first, in the workdir, if they are not there yet.

    Raises:
      UserError: for data that cannot be used.
    """
    table = load_ids(config, workdir, console)
    return make_task(table, load_split(config, table.item_ids))


def make_task(table: IdTable, split: Split, sizes: Sequence[int] | None = None) -> Task:
    """Returns the task of a table and histories in its rows; items that share an ID rank by popularity in training.

    Args:
      table: the N items.
      split: their histories.
      sizes: K of each level; None: one more than the level's largest code.
    """
    popularity = item_counts(split.train)
    trie = build_trie(table.semantic_ids, sizes, popularity)
    known = build_trie(table.semantic_ids, trie.sizes, popularity, np.flatnonzero(~split.cold))
    return Task(table, split, trie, known)


def load_ids(config: ConfigDict, workdir: Path, console: Console, *, catalog: np.ndarray | None = None) -> IdTable:
    """Returns the ID table that `config.ids` names, read or made.

    Args:
      config: as from `sid_jax.recommend.config`.
      workdir: for IDs that are trained.
      console: where their training prints.
      catalog: `[N]` item ids that random IDs are for; None for those of the vectors.
    """
    if config.ids == "rqvae":
        return read_id_table(train_ids(config, workdir, console))
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
    histories = keep_active(
        load_histories(
            config.data, item_ids, where="config.data", cache_dir=config.data.cache_dir, core=config.data.core
        ),
        config.data.min_interactions,
    )
    cold = read_item_list(Path(config.data.cold_items).expanduser(), item_ids) if config.data.cold_items else None
    return leave_one_out(histories, cold)
