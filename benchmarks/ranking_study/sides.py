"""Item representations of a ranker (the sides of the comparison): rows of an embedding table, or vectors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from ranking_study.config import TRAINED, UNCUT, VECTORS
from sid_jax.config import default_config
from sid_jax.data.scaling import apply_scaling, fit_scaling
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.export.run import export
from sid_jax.features.kinds import fit_features
from sid_jax.features.pieces import PieceFeatures
from sid_jax.ids.table import IdTable
from sid_jax.messages import Messages
from sid_jax.recommend.data.content import content_vectors
from sid_jax.recommend.data.quantizer import share_catalog
from sid_jax.settings import fill
from sid_jax.streams import stream_rng
from sid_jax.training.quantizer import train

# Number of ways to split the IDs into pieces in training, each with its own random cuts.
_CUT_ANEW = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """An item representation of a ranker.

    Attributes:
      num_rows: number of rows of the embedding table; 0 if there is no table.
      inputs: `[N, W]` int32 rows, padded with -1; or `[N, D]` float32 vectors if there is no table.
      trained: `[S, N, ...]`, S alternatives of `inputs`; each training step uses one of them.
    """

    num_rows: int
    inputs: np.ndarray
    trained: np.ndarray


def side_names(config: ConfigDict) -> list[tuple[str, int]]:
    """Returns each side's kind and number of rows; the number is 0 if the kind determines the number of rows."""
    sized = [(kind, rows) for rows in config.sides.rows for kind in config.sides.kinds]
    return sized + [(kind, 0) for kind in config.sides.whole]


def make_side(config: ConfigDict, kind: str, num_rows: int, table: IdTable, impressions: np.ndarray, seed: int) -> Side:
    """Returns one item representation, which is fitted on the items that have impressions.

    Args:
      config: from `ranking_study.config`.
      kind: from `side_names`.
      num_rows: from `side_names`.
      table: the Semantic IDs of the N items.
      impressions: `[N]`, number of training ratings of each item.
      seed: seed of random hashing and of the random cuts.

    Raises:
      UserError: if an item has no vector, or features cannot be fitted.
    """
    if kind == VECTORS:
        vectors = content_vectors(_quantizer_config(config, seed, None).data, table.item_ids)
        scaling = fit_scaling(vectors[impressions > 0], unit_norm=True, center=True, standardize="global")
        scaled = np.asarray(apply_scaling(scaling, vectors))
        return Side(0, scaled, scaled[None])
    # If no number of rows is given, the embedding table has one row per item ("item") or per code ("unigram").
    most = {"item": len(table.item_ids) + 1, "unigram": int((table.semantic_ids.max(axis=0) + 1).sum()) + 1}
    features = fit_features(
        "sentencepiece" if kind == UNCUT else kind,
        table,
        num_rows or most[kind],
        impressions=impressions,
        window=config.sides.window,
        seed=seed,
    )
    rows = features.rows_of(table.item_ids, table.semantic_ids).padded()
    if isinstance(features, PieceFeatures) and kind != UNCUT:
        return Side(features.num_rows, rows, _cut_at_random(features, table, config.sides.cut_share, seed))
    return Side(features.num_rows, rows, rows[None])


def _cut_at_random(features: PieceFeatures, table: IdTable, share: float, seed: int) -> np.ndarray:
    """Returns S alternatives of the items' embedding rows, `[S, N, L]`, each from IDs that are cut at random places.

    No piece extends across a cut.
    """
    random, num_levels = stream_rng(seed, "cuts"), table.semantic_ids.shape[1]
    shape = (_CUT_ANEW, len(table.item_ids), num_levels - 1)
    return np.stack(
        [
            features.rows_of(table.item_ids, table.semantic_ids, cuts).padded(num_levels)
            for cuts in random.random(shape) < share
        ]
    )


def load_ids(config: ConfigDict, item_ids: np.ndarray, cold: np.ndarray, seed: int, folder: Path) -> IdTable:
    """Returns the Semantic IDs of the catalog `[N]`; trains them without the cold items if `config.ids` is "rqvae".

    Raises:
      UserError: if an item has no ID.
    """
    if config.ids != TRAINED:
        return given_ids(config, item_ids)
    out = folder / "ids"
    if not out.exists():
        folder.mkdir(parents=True, exist_ok=True)
        cold_file = folder / "cold.txt"
        cold_file.write_text("\n".join(map(str, item_ids[cold].tolist())) + "\n")
        train(_quantizer_config(config, seed, cold_file), folder / "quantizer", messages=Messages.silent())
        export(folder / "quantizer", out, messages=Messages.silent())
    return read_id_table(out).align(item_ids)


def given_ids(config: ConfigDict, item_ids: np.ndarray) -> IdTable:
    """Reads the Semantic IDs of the catalog `[N]` from the export or file that `config.ids` names.

    Raises:
      UserError: if they cannot be read, or an item has no ID.
    """
    return read_id_table(*parse_id_source(config.ids)).align(item_ids)


def _quantizer_config(config: ConfigDict, seed: int, cold_file: Path | None) -> ConfigDict:
    settings = fill(default_config(), config.quantizer.to_dict())
    settings.seed = seed
    share_catalog(settings.data, config.data)
    settings.data.cold_items = "" if cold_file is None else str(cold_file)
    return settings
