"""The figures as a table for a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_figures(console: Console, name: str, figures: dict[str, Any]) -> None:
    """Prints what was measured: a figure of the whole table a row, and then a column for each depth of prefix."""
    whole = Table(title=f"{escape(name)}: {figures['num_items']:,} items", title_justify="left")
    for column in ("figure", "value", "beside it"):
        whole.add_column(column, justify="right" if column == "value" else "left")
    for row in _whole_rows(figures):
        whole.add_row(*row)
    console.print(whole)
    by_depth = Table(title="By level, or by the prefix of so many codes", title_justify="left")
    by_depth.add_column("figure")
    for depth in range(1, figures["num_levels"] + 1):
        by_depth.add_column(str(depth), justify="right")
    for title, values in _rows_by_depth(figures):
        by_depth.add_row(title, *values)
    console.print(by_depth)


def _whole_rows(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    floor = figures.get("max_distinct_rate")
    rows = [
        (
            "distinct IDs / items",
            f"{figures['distinct_rate']:.4f}",
            "" if floor is None else f"distinct vectors / items {floor:.4f}",
        ),
        ("items in a collision", f"{figures['collision_share']:.2%}", f"largest bucket {figures['largest_bucket']}"),
        ("Gini of bucket sizes", f"{figures['gini']:.4f}", "0 is even"),
    ]
    if "stability" in figures:
        rows.append(("first codes equal to the others'", f"{figures['stability']:.2%}", "after the best renaming"))
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
        ("there could be", row(figures["prefixes"], lambda each: f"{each['most']:,}")),
    ]
    if "explained_by_prefix" in figures:
        rows.append(("variance between prefixes", row(figures["explained_by_prefix"], number)))
        rows.append(("the same beyond chance", row(figures["explained_beyond_chance"], number)))
        rows.append(("near items share the prefix", row(figures["neighbors_share_prefix"], number)))
        rows.append(("any two items do", row(figures["chance_shares_prefix"], number)))
    if "together_beyond_chance" in figures:
        rows.append(("of who takes items together", row(figures["together_beyond_chance"], number)))
    for name, title in (("r2", "R^2 of the decoded prefix"), ("mse", "its MSE, a feature"), ("cosine", "its cosine")):
        form = (lambda value: f"{value:.3e}") if name == "mse" else number
        if "by_depth" in figures:
            rows.append((title, row([each[name] for each in figures["by_depth"]], form)))
    if figures.get("label_purity"):
        rows.append(("label purity", row([each["purity"] for each in figures["label_purity"]], number)))
        rows.append(("by chance", row([each["chance"] for each in figures["label_purity"]], number)))
    return rows
