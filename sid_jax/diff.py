"""Compares two ID tables: counts added, removed and changed items, prints the counts, and writes them as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.table import Table

from sid_jax.data.id_lists import likely_cause, some_unknown
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.ids.convert import common_rows
from sid_jax.ids.matching import best_orders, renumbered
from sid_jax.ids.reassigned import num_reassigned
from sid_jax.ids.table import IdTable
from sid_jax.messages import Messages
from sid_jax.paths import file_to_write
from sid_jax.whole_file import write_json
from sid_jax.wording import counted, percentage


def compare(old: IdTable, new: IdTable) -> dict[str, Any]:
    """Returns the differences between two tables as Python numbers and lists, ready for JSON.

    Common items are items that are in both tables. Shares are relative to the number of common items; without common
    items, they are None.

    Returns:
      num_old, num_new: number of items in each table;
      num_common: number of common items;
      num_added: number of items that are only in the new table;
      num_gone: number of items that are only in the old table;
      num_changed, changed: number of common items with another ID, and their share;
      num_reassigned: number of old IDs that belong to other items in the new table;
      lengths: codes per ID in each table. If the lengths differ, every ID counts as changed, and only the levels that
        both tables have are compared;
      code_changed: for each level the share of common items with another code;
      prefix_kept: for each prefix length the share of common items with the same prefix;
      prefix_kept_renumbered: `prefix_kept` after the best renumbering of each level of the new IDs.
    """
    rows, others = common_rows(old.item_ids, new.item_ids)
    before, after = old.semantic_ids[rows], new.semantic_ids[others]
    levels = min(before.shape[1], after.shape[1])
    same = before[:, :levels] == after[:, :levels]
    changed = ~same.all(axis=1) | (before.shape[1] != after.shape[1])
    return {
        "num_old": len(old.item_ids),
        "num_new": len(new.item_ids),
        "num_common": len(rows),
        "num_added": len(new.item_ids) - len(rows),
        "num_gone": len(old.item_ids) - len(rows),
        "num_changed": int(changed.sum()),
        "changed": float(changed.mean()) if len(rows) else None,
        "num_reassigned": num_reassigned(old, new),
        "lengths": [before.shape[1], after.shape[1]],
        "code_changed": (1 - same.mean(axis=0)).tolist() if len(rows) else None,
        "prefix_kept": _kept(same),
        "prefix_kept_renumbered": _kept(_best(before[:, :levels], after[:, :levels]) == before[:, :levels]),
    }


def _kept(same: np.ndarray) -> list[float] | None:
    return np.logical_and.accumulate(same, axis=1).mean(axis=0).tolist() if len(same) else None


def _best(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    if not len(before):
        return after
    # IDs of other tools may have any integers as codes, so the codes in use are first renumbered from 0.
    columns = [
        np.unique(np.stack([level, now]), return_inverse=True) for level, now in zip(before.T, after.T, strict=True)
    ]
    dense = [where.reshape(2, -1) for _, where in columns]
    sizes = [len(names) for names, _ in columns]
    then, now = (np.stack([each[side] for each in dense], axis=1) for side in (0, 1))
    best = renumbered(now, best_orders(then, now, sizes))
    return np.stack([names[level] for (names, _), level in zip(columns, best.T, strict=True)], axis=1)


def diff(old: str, new: str, *, out: str | None = None, messages: Messages | None = None) -> dict[str, Any]:
    """Compares two tables, prints and returns the result of `compare`, and writes it to the .json file `out`, if given.

    A table may be in any file or folder that `sid_jax.export.id_tables.read_id_table` reads.

    Raises:
      UserError: if a table cannot be read.
    """
    path = None if out is None else file_to_write(out)
    before, after = (read_id_table(*parse_id_source(source)) for source in (old, new))
    figures = compare(before, after)
    messages = messages or Messages.to_console()
    _print(messages, before, after, figures)
    if path is not None:
        write_json(path, figures)
        messages.line(f"The metrics are in {path}")
    return figures


def _print(messages: Messages, old: IdTable, new: IdTable, figures: dict[str, Any]) -> None:
    lines = [
        f"{old.name} has {counted(figures['num_old'], 'item')}, {new.name} has {figures['num_new']:,}: "
        f"{figures['num_common']:,} in both, {figures['num_added']:,} new, {figures['num_gone']:,} removed",
    ]
    if figures["num_common"]:
        lines.append(
            f"{counted(figures['num_changed'], 'item has', 'items have')} a different ID in the new table "
            f"({percentage(figures['changed'])}); "
            f"{counted(figures['num_reassigned'], 'old ID now belongs', 'old IDs now belong')} to other items"
        )
    if figures["lengths"][0] != figures["lengths"][1]:
        lines.append(
            "Old IDs have {} codes and new IDs have {}, so every ID counts as different".format(*figures["lengths"])
        )
    for line in lines:
        messages.line(line)
    if cause := _likely_cause(old, new):
        messages.warn(f"some items may be in both tables, but with a different item id in each: {cause}")
    if figures["num_common"]:
        messages.show(_levels(figures))


def _likely_cause(old: IdTable, new: IdTable) -> str:
    """Returns the likely reason why items of the new table are not in the old one; "" if no reason is apparent."""
    rows, others = common_rows(old.item_ids, new.item_ids)
    unknown = some_unknown(new.item_ids, others)
    return likely_cause(unknown, rows, old.item_ids) if unknown else ""


def _levels(figures: dict[str, Any]) -> Table:
    table = Table()
    table.add_column("level", justify="right")
    for title in ("items with another code", "with the same prefix", "with the same prefix after the best renumbering"):
        table.add_column(title, justify="right")
    columns = [figures[name] for name in ("code_changed", "prefix_kept", "prefix_kept_renumbered")]
    for level, shares in enumerate(zip(*columns, strict=True), start=1):
        table.add_row(str(level), *(percentage(share) for share in shares))
    return table
