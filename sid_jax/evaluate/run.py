"""Somebody's IDs, and what is known of the items, to figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sid_jax.data.cooccurrence import cooccurrence_vectors, pair_counts
from sid_jax.data.history_files import read_interactions, read_sequences
from sid_jax.data.vector_files import read_vector_files
from sid_jax.errors import UserError
from sid_jax.evaluate.labels import read_labels
from sid_jax.evaluate.report import print_figures
from sid_jax.export.artifact import load_export
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.ids.fidelity import fidelity_by_depth
from sid_jax.ids.neighbors import nearest_items, neighbors_share_prefix
from sid_jax.ids.quality import (
    entropy,
    explained_beyond_chance,
    explained_by_prefix,
    gini,
    prefixes_in_use,
    purity,
    same_prefix_by_chance,
    stability,
)
from sid_jax.ids.table import IdTable
from sid_jax.json_file import write_json
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.health import collision_share, distinct_rate, largest_bucket, max_distinct_rate, perplexity, usage
from sid_jax.streams import stream_rng

_NEIGHBORS = 10
# The most items whose neighbors are looked for, among all: beyond, a random sample, and the figures say so.
_MOST_ASKED = 20_000
# As a config's `data.collaborative_dimension`, and the columns of `data.histories`, are by default.
_TOGETHER_FEATURES = 64
_HISTORY_COLUMNS = ("user_id", "item_id", "timestamp")


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where things lie, as the command's flags say; None for what there is not."""

    ids: str
    vectors: str | None = None
    vector_ids: str | None = None
    id_column: str = "item_id"
    vector_column: str = "vector"
    codebooks: str | None = None
    labels: str | None = None
    histories: str | None = None
    holdout: int = 2
    other: str | None = None


def evaluate_ids(sources: Sources, *, out: str | None = None, console: Console | None = None) -> dict[str, Any]:
    """Measures Semantic IDs, prints a table, and returns the figures.

    Args:
      sources: what to measure; vectors, codebooks, labels, histories and a second set of IDs each allow more figures.
      out: a .json file for the figures; None for none.
      console: where to print; standard output if None.

    Raises:
      UserError: for a file that cannot be used.
    """
    if sources.codebooks and not sources.vectors:
        raise UserError("--codebooks needs --vectors: what IDs stand for is compared with the items' vectors")
    table = _read_ids(sources.ids)
    vectors = None
    if sources.vectors:
        data = read_vector_files(
            sources.vectors,
            id_column=sources.id_column,
            vector_column=sources.vector_column,
            ids_paths=[sources.vector_ids or ""],
        )
        table, vectors = table.align(data.ids), np.asarray(data.vectors, np.float32)
    figures = _figures_of_ids(table.semantic_ids)
    if vectors is not None:
        figures |= _figures_of_vectors(table.semantic_ids, vectors)
    if vectors is not None and sources.codebooks:
        figures["by_depth"] = _by_depth(load_export(sources.codebooks).model, table.semantic_ids, vectors)
    if sources.labels:
        figures["label_purity"] = purity(table.semantic_ids, read_labels(sources.labels, table.item_ids))
    if sources.histories:
        figures |= _figures_of_histories(table, Path(sources.histories).expanduser(), sources.holdout)
    if sources.other:
        other = _read_ids(sources.other).align(table.item_ids)
        figures["stability"] = stability(table.semantic_ids, other.semantic_ids)
    if out:
        write_json(Path(out), {"ids": table.name, **figures})
    print_figures(console or Console(), table.name, figures)
    return figures


def _read_ids(source: str) -> IdTable:
    return read_id_table(*parse_id_source(source))


def _figures_of_ids(semantic_ids: np.ndarray) -> dict[str, Any]:
    sizes = (semantic_ids.max(axis=0) + 1).tolist()
    return {
        "num_items": len(semantic_ids),
        "num_levels": semantic_ids.shape[1],
        "largest_code": [size - 1 for size in sizes],
        "distinct_rate": distinct_rate(semantic_ids),
        "collision_share": collision_share(semantic_ids),
        "largest_bucket": largest_bucket(semantic_ids),
        "gini": gini(semantic_ids),
        # Of codes up to the largest that is there: a file does not say how many there could be.
        "usage": usage(semantic_ids, sizes),
        "perplexity": perplexity(semantic_ids, sizes),
        "entropy": entropy(semantic_ids),
        "prefixes": prefixes_in_use(semantic_ids, sizes),
    }


def _figures_of_vectors(semantic_ids: np.ndarray, vectors: np.ndarray) -> dict[str, Any]:
    num_items = len(vectors)
    asked = np.arange(num_items)
    if num_items > _MOST_ASKED:
        asked = np.sort(stream_rng(0, "neighbors").choice(num_items, _MOST_ASKED, replace=False))
    neighbors = nearest_items(vectors, asked, min(_NEIGHBORS, num_items - 1)) if num_items > 1 else None
    return {
        "max_distinct_rate": max_distinct_rate(vectors),
        "explained_by_prefix": explained_by_prefix(semantic_ids, vectors),
        "explained_beyond_chance": explained_beyond_chance(semantic_ids, vectors),
        "neighbors_asked": len(asked),
        "neighbors_share_prefix": [] if neighbors is None else neighbors_share_prefix(semantic_ids, neighbors, asked),
        "chance_shares_prefix": same_prefix_by_chance(semantic_ids),
    }


def _figures_of_histories(table: IdTable, path: Path, holdout: int) -> dict[str, Any]:
    """Returns what prefixes say of who takes items together, without the last interactions of each user."""
    if path.suffix in (".parquet", ".csv"):
        histories = read_interactions(path, table.item_ids, *_HISTORY_COLUMNS)
    else:
        histories = read_sequences(path, table.item_ids)
    counts = pair_counts(histories.without_last(holdout))
    together = cooccurrence_vectors(counts, min(_TOGETHER_FEATURES, len(table.item_ids) - 1))
    return {"together_beyond_chance": explained_beyond_chance(table.semantic_ids, together)}


def _by_depth(model: RQVAE, semantic_ids: np.ndarray, vectors: np.ndarray) -> list[dict[str, float]]:
    """Returns R^2, MSE and cosine of what the first codes of each ID stand for, for each depth of the codebooks."""
    sizes = model.quantizer.codebook_sizes
    if semantic_ids.shape[1] < len(sizes) or (semantic_ids[:, : len(sizes)].max(axis=0) >= sizes).any():
        raise UserError(f"the codebooks have {len(sizes)} levels of {sizes} codes, which the IDs do not fit")
    if vectors.shape[1] != model.mean.shape[0]:
        raise UserError(f"the codebooks are of {model.mean.shape[0]} features, the vectors have {vectors.shape[1]}")
    return fidelity_by_depth(model, semantic_ids[:, : len(sizes)], vectors)
