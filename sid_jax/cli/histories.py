"""Flags for interaction histories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

if TYPE_CHECKING:
    from sid_jax.data.history_files import HistoryFile

_HISTORIES = flags.DEFINE_string(
    "histories",
    None,
    "Interaction histories: a text file (one line per user), a table of interactions, or another tool's file "
    "(docs/formats.md).",
)
_USER_COLUMN = flags.DEFINE_string("user_column", "user_id", "Column of users in a table of --histories.")
_ITEM_COLUMN = flags.DEFINE_string("item_column", "item_id", "Column of item ids in a table of --histories.")
_TIME_COLUMN = flags.DEFINE_string("time_column", "timestamp", "Column of times in a table of --histories.")


def given() -> HistoryFile | None:
    """Returns the file of histories with its columns, or None if --histories is not given."""
    from sid_jax.data.history_files import HistoryFile

    if _HISTORIES.value is None:
        return None
    columns = _USER_COLUMN.value, _ITEM_COLUMN.value, _TIME_COLUMN.value
    return HistoryFile(_HISTORIES.value, *columns, option="--on_unknown=drop")
