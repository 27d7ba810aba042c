"""Compares two exports, or other ID tables: counts changed Semantic IDs, new items and removed items.

Example:
  sid-jax diff exports/v1 exports/v2 --json=diff.json
"""

from __future__ import annotations

from absl import flags

from sid_jax import command
from sid_jax.errors import UserError

_JSON = flags.DEFINE_string("json", None, "Write the metrics to this .json file.")


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run_with_words(_main, __doc__)


def _main(words: list[str]) -> None:
    from sid_jax.diff import diff

    if len(words) != 2:
        raise UserError(f"{len(words)} ID tables are given; give two, as in sid-jax diff exports/v1 exports/v2")
    diff(*words, out=_JSON.value)
