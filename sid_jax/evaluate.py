"""Evaluates Semantic IDs of any origin: computes metrics, chance levels and bounds, and prints them."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from sid_jax.data.arrays import as_vectors
from sid_jax.data.arrow_columns import ids_from_arrow
from sid_jax.data.collaborative import cooccurrence_vectors, pair_counts
from sid_jax.data.histories import Histories
from sid_jax.data.id_lists import catalog_rows, dropped, known_items
from sid_jax.data.inputs import as_histories
from sid_jax.data.part_sources import labels_of
from sid_jax.data.tables import read_whole_tables
from sid_jax.data.vector_files import read_vector_files
from sid_jax.errors import UserError, shown
from sid_jax.export.artifact import load_export
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.ids.convert import comparable, places
from sid_jax.ids.table import IdTable
from sid_jax.messages import LOGGER, Messages
from sid_jax.metrics.codes import code_figures, max_distinct_rate
from sid_jax.metrics.ids import (
    explained_beyond_chance,
    explained_by_prefix,
    neighbors_share_prefix,
    prefixes_in_use,
    purity,
    same_prefix_by_chance,
    stability,
)
from sid_jax.metrics.vectors import fidelity_by_depth, fidelity_by_part, figure_inputs, nearest_items
from sid_jax.models.rqvae import RQVAE
from sid_jax.paths import file_to_write
from sid_jax.streams import stream_rng
from sid_jax.whole_file import write_json

_NEIGHBORS = 10
# Maximum number of items whose neighbors are searched. Larger catalogs are sampled; the metric `neighbors_asked` is the
# number of sampled items.
_MOST_ASKED = 20_000
# Number of features of co-occurrence vectors. It equals the default of `data.collaborative_dimension`.
_TOGETHER_FEATURES = 64
# Minimum share of the vectors' variance that first codes explain beyond chance. If the share is lower, a warning says
# that the IDs may be those of other items.
_LEAST_EXPLAINED = 0.01
_WHERE_IDS_ARE_SET = (
    "check the ids of --vectors (--id_column or --vector_ids) and, if --ids is an array, its item ids "
    "(item_ids.parquet or item_ids.txt in the same folder)"
)


def evaluate_ids(
    ids: str | Path,
    *,
    vectors: str | Path | None = None,
    vector_ids: str | None = None,
    id_column: str = "item_id",
    vector_column: str = "vector",
    on_bad_rows: str = "error",
    on_unknown: str = "error",
    codebooks: str | None = None,
    labels: str | None = None,
    histories: Any = None,
    holdout: int = 2,
    other: str | None = None,
    out: str | None = None,
    messages: Messages | None = None,
) -> dict[str, Any]:
    """Evaluates Semantic IDs in files, prints a table, and returns the metrics of `measure`.

    Args:
      ids: an export's folder, or a file of IDs, see docs/evaluate.md.
      vectors: files of item vectors, see docs/your-own-data.md.
      vector_ids: a file with the ids of the vectors, one per line, for files without ids.
      id_column, vector_column: columns of `vectors`.
      on_bad_rows: treatment of rows of `vectors` with missing, NaN or infinite values: "error" or "report" rejects the
        file, and "report" lists these rows; "drop" drops them.
      on_unknown: treatment of items that have a vector or are in a history, but have no Semantic ID: "error" rejects
        them, "drop" drops them with a warning that states their number. Items whose vectors were dropped as bad rows
        are also dropped from the histories, with a separate warning.
      codebooks: folder of an export. Its decoder reconstructs vectors from IDs.
      labels: "FILE:COLUMN", see docs/evaluate.md; optional.
      histories: interaction histories, see `SemanticIdTokenizer.fit`; optional.
      holdout: number of each user's last interactions that are excluded from the histories.
      other: IDs of the same items from another training run.
      out: a .json file for the metrics; None writes no file.
      messages: where to print; standard output if None.

    Raises:
      UserError: if a file cannot be used, or `ids` or `vectors` is not a path.
    """
    for name, value in (("ids", ids), ("vectors", "" if vectors is None else vectors)):
        if not isinstance(value, (str, Path)):
            raise UserError(
                f"{name} has the type {type(value).__name__}, but evaluate_ids reads files; give a path, or call "
                "sid_jax.evaluate.measure(table, vectors) for data in memory"
            )
    ids, vectors = str(ids), None if vectors is None else str(vectors)
    if codebooks and not vectors:
        raise UserError("--codebooks needs --vectors=FILE, since decoded IDs are compared with the item vectors")
    path = file_to_write(out) if out else None
    table, rows = read_id_table(*parse_id_source(ids)), None
    known = None  # The ids of all items that histories may contain; None if these are the items of `table`.
    if vectors:
        data = read_vector_files(
            vectors,
            id_column=id_column,
            vector_column=vector_column,
            ids_paths=[vector_ids or ""],
            on_bad_rows=on_bad_rows,
            option="--on_bad_rows=drop",
        )
        if data.left_out.num_rows:
            LOGGER.warning("%s", data.left_out)
            known = table.item_ids
        kept = np.ones(len(data.ids), bool)
        if dropped(on_unknown):
            places_there = catalog_rows(map(str, data.ids.tolist()), table.item_ids)
            kept = known_items(
                places_there,
                table.item_ids,
                on_unknown,
                lambda row: f"{vectors}: row {row} (counted from 0): item {shown(data.ids.tolist()[row])}",
                data.ids.tolist(),
            )
        table = table.align(data.ids[kept], option="--on_unknown=drop", remedy=_WHERE_IDS_ARE_SET)
        rows = np.asarray(data.vectors, np.float32)[kept]
    figures = measure(
        table,
        rows,
        model=load_export(codebooks).model if codebooks else None,
        labels=read_labels(labels, table.item_ids) if labels else None,
        histories=None if histories is None else _histories(histories, table.item_ids, known, on_unknown, holdout),
        other=read_id_table(*parse_id_source(other)) if other else None,
    )
    # If every item has its own first code, random codes would explain the whole variance, too. The metric
    # `explained_beyond_chance` is then 0, which is no reason for a warning.
    shared = figures["prefixes"][0]["in_use"] < figures["num_items"]
    if rows is not None and shared and figures["explained_beyond_chance"][0] < _LEAST_EXPLAINED:
        LOGGER.warning(
            "the first codes of the IDs explain hardly more of the vectors than random codes would; check that --ids "
            "and --vectors have the same items under the same ids"
        )
    if "by_depth" in figures and figures["by_depth"][-1]["r2"] < 0:
        LOGGER.warning(
            "the vectors that are decoded from the IDs are worse than the mean of all vectors; check that --codebooks "
            "is the export of these IDs"
        )
    messages = messages or Messages.to_console()
    _print(messages, table.name, figures)
    if path:
        write_json(path, {"ids": table.name, **figures})
        messages.line(f"The metrics are in {path}")
    content = f" --config.quantizer.data.path={shlex.quote(vectors)}" if vectors else ""
    content += f" --config.quantizer.data.ids_path={shlex.quote(vector_ids)}" if vectors and vector_ids else ""
    taken = shlex.quote(histories) if isinstance(histories, str) and histories else "HISTORIES"
    messages.line(
        f"Next, to measure recommendation quality: sid-jax recommend --config=recommend:beauty --config.ids="
        f"{shlex.quote(ids)} --config.data.path={taken}{content} --workdir=DIR"
    )
    return figures


def _histories(
    histories: Any, item_ids: np.ndarray, known: np.ndarray | None, on_unknown: str, holdout: int
) -> Histories:
    """Returns histories over the items `item_ids` `[N]`, without each user's last `holdout` interactions.

    If `known` is given, it has the ids in `item_ids` and further ids. Interactions with the further items are dropped,
    with a warning.
    """
    found = as_histories(histories, item_ids if known is None else known, on_unknown=on_unknown).without_last(holdout)
    if known is None:
        return found
    rows = catalog_rows(map(str, known.tolist()), item_ids)[found.items]
    if num_dropped := int((rows < 0).sum()):
        words = "%s of %s interactions are dropped, since their items have no vector"
        LOGGER.warning(words, f"{num_dropped:,}", f"{len(rows):,}")
    return dataclasses.replace(found, items=rows, item_ids=item_ids).keep_interactions(rows >= 0)


def measure(
    table: IdTable,
    vectors: Any = None,
    *,
    model: RQVAE | None = None,
    labels: Sequence[Any] | None = None,
    histories: Any = None,
    other: IdTable | None = None,
) -> dict[str, Any]:
    """Returns the metrics of Semantic IDs by name, as Python numbers and lists, ready for JSON; see docs/metrics.md.

    Args:
      table: N items with their Semantic IDs `[N, L]`.
      vectors: `[N, D]` real numbers, the items' vectors. Adds the variance explained by prefixes, and the share of
        nearest neighbors with the same prefix.
      model: decodes prefixes of the IDs. Adds R^2, MSE and cosine for each prefix length; needs `vectors`.
      labels: each item's labels: N lists of texts, or N texts with "|" between labels. Adds the purity of prefixes.
      histories: interaction histories, see `SemanticIdTokenizer.fit`. Adds the variance of co-occurrence vectors
        explained by prefixes.
      other: IDs of the same items from another training run. Adds the stability of the items' first codes.

    Raises:
      UserError: if vectors or labels have another number of items, the IDs or vectors do not match the model, the
        histories cannot be used, or an item is missing in `other`.
    """
    figures = _figures_of_ids(table.semantic_ids)
    if vectors is not None:
        vectors = as_vectors(vectors, "vectors")
    for name, values, each in (("vectors", vectors, "vector"), ("labels", labels, "list of labels")):
        if values is not None and len(values) != len(table):
            raise UserError(
                f"{name} has {len(values)} entries, but the table has {len(table)} items; give one {each} per item"
            )
    if vectors is not None:
        inputs = vectors if model is None or model.layout is None else figure_inputs(model, vectors)
        figures |= _figures_of_vectors(table.semantic_ids, inputs)
    if vectors is not None and model is not None:
        figures["by_depth"] = _by_depth(model, table.semantic_ids, vectors)
        if model.layout is not None:
            codes = table.semantic_ids[:, : len(model.quantizer.codebook_sizes)]
            figures["r2_by_part"] = fidelity_by_part(model, codes, vectors)
    if labels is not None:
        figures["label_purity"] = purity(table.semantic_ids, [labels_of(each) for each in labels])
    if histories is not None:
        given = as_histories(histories, table.item_ids)
        together = cooccurrence_vectors(pair_counts(given), min(_TOGETHER_FEATURES, len(table.item_ids) - 1))
        figures["together_beyond_chance"] = explained_beyond_chance(table.semantic_ids, together)
    if other is not None:
        figures["stability"] = stability(table.semantic_ids, other.align(table.item_ids).semantic_ids)
    return figures


def _figures_of_ids(semantic_ids: np.ndarray) -> dict[str, Any]:
    sizes = (semantic_ids.max(axis=0) + 1).tolist()
    return {
        "num_items": len(semantic_ids),
        "num_levels": semantic_ids.shape[1],
        "largest_code": [size - 1 for size in sizes],
        # Usage is relative to the largest code in use, since files of IDs do not state K.
        **code_figures(semantic_ids, sizes),
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


def _by_depth(model: RQVAE, semantic_ids: np.ndarray, vectors: np.ndarray) -> list[dict[str, float]]:
    """Returns R^2, MSE and cosine of the reconstructions from the first d codes of each ID, for d from 1 to L."""
    sizes = model.quantizer.codebook_sizes
    if semantic_ids.shape[1] < len(sizes) or (semantic_ids[:, : len(sizes)].max(axis=0) >= sizes).any():
        raise UserError(
            f"the IDs do not fit the codebooks, which have {len(sizes)} levels of {sizes} codes; set --codebooks to "
            "the export of these IDs"
        )
    if vectors.shape[1] != model.mean.shape[0]:
        raise UserError(
            f"the vectors have {vectors.shape[1]} features, but the codebooks need {model.mean.shape[0]}; set "
            "--vectors to the vectors from which the IDs were made"
        )
    return fidelity_by_depth(model, semantic_ids[:, : len(sizes)], vectors)


def read_labels(source: str, item_ids: np.ndarray) -> list[Sequence[str]]:
    """Reads the labels of a catalog's items.

    Args:
      source: FILE:COLUMN, with FILE as in `find_files`. The first column of the file has item ids. The labels are
        texts, lists of texts, or texts with "|" between labels.
      item_ids: `[N]`. If either the file or `item_ids` has integer ids, and the other has text, ids are compared as
        text.

    Returns:
      N lists; empty for an item that is not in the file. Items of the file that are not among the N items are dropped,
      with a warning that states their number.

    Raises:
      UserError: if the file cannot be read, has no such column, or has none of the N items.
    """
    name, colon, column = source.rpartition(":")
    if not colon or not name:
        raise UserError(f"--labels={source}: give FILE:COLUMN with a .parquet, .csv, .feather or .jsonl file")
    table = read_whole_tables(name)
    if column not in table.column_names:
        raise UserError(f"{name}: no column {column!r}; its columns are {', '.join(table.column_names)}")
    ids = ids_from_arrow(table.column(0), f"{name}: column {table.column_names[0]!r}")
    rows = places(*comparable(ids, item_ids))
    where = f"column {table.column_names[0]!r}, the first one"
    remedy = f"the item ids of labels are read from {where}; write the item ids of the ID table into it"
    known_items(rows, item_ids, "drop", lambda row: f"{name}: {str(ids[row])!r}", ids, remedy=remedy)
    labels: list[Sequence[str]] = [()] * len(item_ids)
    for row, value in zip(rows.tolist(), table[column].to_pylist(), strict=True):
        if row >= 0:
            labels[row] = labels_of(value)
    return labels


def _print(messages: Messages, name: str, figures: dict[str, Any]) -> None:
    """Prints the metrics: a table of the metrics of whole IDs, and a table with one column per level."""
    whole = Table(title=f"{escape(name)}: {figures['num_items']:,} items", title_justify="left")
    for column in ("metric", "value", "note"):
        whole.add_column(column, justify="right" if column == "value" else "left")
    for row in _whole_rows(figures):
        whole.add_row(*row)
    messages.show(whole)
    by_depth = Table(title="By level, or by prefix length", title_justify="left")
    by_depth.add_column("metric")
    for depth in range(1, figures["num_levels"] + 1):
        by_depth.add_column(str(depth), justify="right")
    for title, values in _rows_by_depth(figures):
        by_depth.add_row(title, *values)
    messages.show(by_depth)


def _whole_rows(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    most = figures.get("max_distinct_rate")
    rows = [
        (
            "distinct IDs / items",
            f"{figures['distinct_rate']:.4f}",
            "" if most is None else f"at most {most:.4f}",
        ),
        ("items in a collision", f"{figures['collision_share']:.2%}", f"largest bucket {figures['largest_bucket']}"),
        ("Gini of bucket sizes", f"{figures['gini']:.4f}", "0: all buckets have the same size"),
    ]
    rows += [
        (f"R^2 of {name}", f"{r2:.4f}", "over the items that have this part")
        for name, r2 in figures.get("r2_by_part", {}).items()
    ]
    if "stability" in figures:
        rows.append(
            ("same first code in --other", f"{figures['stability']:.2%}", "after the best renumbering of the codes")
        )
    return rows


def _rows_by_depth(figures: dict[str, Any]) -> list[tuple[str, list[str]]]:
    def row(values: Sequence[Any], form: Callable[[Any], str]) -> list[str]:
        return [form(value) for value in values]

    def number(value: float) -> str:
        return f"{value:.4f}"

    rows = [
        ("largest code", row(figures["largest_code"], str)),
        ("codes in use", row(figures["usage"], lambda share: f"{share:.1%}")),
        ("perplexity", row(figures["perplexity"], lambda value: f"{value:.1f}")),
        ("entropy, bits", row(figures["entropy"], lambda value: f"{value:.2f}")),
        ("prefixes in use", row(figures["prefixes"], lambda each: f"{each['in_use']:,}")),
        ("prefixes in use, at most", row(figures["prefixes"], lambda each: f"{each['most']:,}")),
    ]
    if "explained_by_prefix" in figures:
        rows.append(("variance explained by prefix", row(figures["explained_by_prefix"], number)))
        rows.append(("explained beyond chance", row(figures["explained_beyond_chance"], number)))
        rows.append(("nearest items with the same prefix", row(figures["neighbors_share_prefix"], number)))
        rows.append(("random items with the same prefix", row(figures["chance_shares_prefix"], number)))
    if "together_beyond_chance" in figures:
        rows.append(("co-occurrence explained beyond chance", row(figures["together_beyond_chance"], number)))
    titles = (
        ("r2", "R^2 of the decoded prefix"),
        ("mse", "MSE of the decoded prefix, per feature"),
        ("cosine", "cosine of the decoded prefix"),
    )
    for name, title in titles:
        form = (lambda value: f"{value:.3e}") if name == "mse" else number
        if "by_depth" in figures:
            rows.append((title, row([each[name] for each in figures["by_depth"]], form)))
    if figures.get("label_purity"):
        rows.append(("label purity", row([each["purity"] for each in figures["label_purity"]], number)))
        rows.append(("label purity by chance", row([each["chance"] for each in figures["label_purity"]], number)))
    return rows
