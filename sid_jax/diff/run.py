"""Two tables of Semantic IDs side by side, for a person and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sid_jax.diff.compare import compare
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.ids.table import IdTable
from sid_jax.json_file import write_json


def diff(old: str, new: str, *, out: str | None = None, console: Console | None = None) -> dict[str, Any]:
    """Prints and returns what became of items and their IDs.

    Args:
      old, new: as of `sid_jax.export.id_tables.read_id_table`.
      out: a .json file for the figures.
      console: where to print; standard output if None.

    Raises:
      UserError: if a table cannot be read.
    """
    before, after = (read_id_table(*parse_id_source(source)) for source in (old, new))
    figures = compare(before, after)
    if out is not None:
        write_json(Path(out), figures)
    _print(console or Console(), before, after, figures)
    return figures


def _print(console: Console, old: IdTable, new: IdTable, figures: dict[str, Any]) -> None:
    lines = [
        f"{old.name}, {figures['num_old']:,} items, and {new.name}, {figures['num_new']:,}: {figures['num_common']:,} "
        f"in both, {figures['num_added']:,} new, {figures['num_gone']:,} gone",
    ]
    if figures["num_common"]:
        lines.append(
            f"{figures['num_changed']:,} items of both have another ID ({figures['changed']:.1%}); "
            f"{figures['num_reassigned']:,} old IDs name other items now"
        )
    if figures["lengths"][0] != figures["lengths"][1]:
        lines.append("IDs had {} codes and have {} now: each counts as another one".format(*figures["lengths"]))
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if figures["num_common"]:
        console.print(_levels(figures))


def _levels(figures: dict[str, Any]) -> Table:
    table = Table()
    table.add_column("level", justify="right")
    for title in ("another code", "same prefix", "same prefix, best renumbering"):
        table.add_column(title, justify="right")
    columns = [figures[name] for name in ("code_changed", "prefix_kept", "prefix_kept_renumbered")]
    for level, shares in enumerate(zip(*columns, strict=True), start=1):
        table.add_row(str(level), *(f"{share:.1%}" for share in shares))
    return table
