"""Flags of commands that write the items and histories of a catalog."""

from __future__ import annotations

from absl import flags

ITEMS = flags.DEFINE_string(
    "items", None, "Titles, descriptions and other columns of items: a table, JSON lines, or LC-Rec's .item.json file."
)
ON_UNKNOWN = flags.DEFINE_enum(
    "on_unknown",
    "error",
    ["error", "drop"],
    "With --histories: items without a Semantic ID are rejected (error) or dropped (drop).",
)
