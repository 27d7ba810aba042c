"""Says what became of items and their Semantic IDs from one export, or other table, to another.

python -m sid_jax.diff exports/v1 exports/v2 --json=diff.json
"""

from __future__ import annotations

from absl import flags

from sid_jax import command
from sid_jax.errors import UserError

_JSON = flags.DEFINE_string("json", None, "A .json file for the figures.")


def main(words: list[str]) -> None:
    """Compares the two tables that the words name."""
    from sid_jax.diff.run import diff

    if len(words) != 2:
        raise UserError(f"{len(words)} tables are named; name two, as in python -m sid_jax.diff exports/v1 exports/v2")
    diff(*words, out=_JSON.value)


if __name__ == "__main__":
    command.run_with_words(main, [])
