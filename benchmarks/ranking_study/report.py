"""Prints the results of the ranking study: the AUC of each method, and its difference from random hashing.

The AUC is computed on all test ratings ("all"), on those of warm items ("seen"), and on those of cold items ("cold").
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from ranking_study.compare import SLICES, Measured
from ranking_study.config import BASELINE, UNCUT, VECTORS
from sid_jax.recommend.evaluation.report import figure, interval_text

_TITLES = {
    "sentencepiece": "SentencePiece, split in training",
    UNCUT: "SentencePiece, not split",
    "unigram": "one row per code",
    "prefix": "prefixes",
    "window": "windows",
    BASELINE: "random hashing",
    "item": "one row per item",
    VECTORS: "vectors, no table",
}


def side_title(kind: str, rows: int) -> str:
    """Returns the title of a method and table size."""
    return f"{_TITLES[kind]}, {rows:,} rows" if rows else _TITLES[kind]


def print_tables(console: Console, results: dict[tuple[str, int], dict[str, Measured]], about: dict[str, Any]) -> None:
    """Prints the AUC of each method, and its difference from random hashing at the same table size."""
    cold = f"{about['num_tested_cold']:,.0f} are ratings of the {about['num_cold_items']:,.0f} cold items"
    console.print(
        f"{about['num_runs']} runs; means over runs: {about['num_trained']:,.0f} training ratings, and "
        f"{about['num_tested']:,} later test ratings, of which {cold}",
        highlight=False,
        soft_wrap=True,
    )
    figures = Table(title="AUC, with 95 % intervals over users, items and runs", title_justify="left")
    differences = Table(
        title="Difference from random hashing with the same number of rows: AUC, paired by run, user and item",
        title_justify="left",
    )
    for table in (figures, differences):
        table.add_column("item features")
        for name in SLICES:
            table.add_column(name, justify="right")
    for (kind, rows), measured in results.items():
        cells = [f"{figure(measured[name].mean)} ({interval_text(*measured[name].interval())})" for name in SLICES]
        figures.add_row(side_title(kind, rows), *cells)
        baseline = results.get((BASELINE, rows))
        if baseline is not None and kind != BASELINE:
            differences.add_row(side_title(kind, rows), *(_difference(measured[n], baseline[n]) for n in SLICES))
    console.print(figures)
    if differences.row_count:
        console.print(differences)


def _difference(one: Measured, other: Measured) -> str:
    mean, low, high = one.minus(other)
    return f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"
