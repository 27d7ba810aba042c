"""Writes Semantic IDs, histories and items in the file formats of another tool; docs/formats.md lists the tools.

Example:
  sid-jax convert exports/beauty --to=minionerec --out=data/Beauty --histories=sequences.txt --items=items.jsonl
"""

from __future__ import annotations

from absl import flags

from sid_jax import command, signals
from sid_jax.cli import histories, items
from sid_jax.errors import UserError

_TO = flags.DEFINE_string(
    "to",
    None,
    "Tool: minionerec, lcrec, letter, grid, nvidia, openonerec, recbole, rectokens, torch-rechub, rpg, xllm, "
    "flashrec, static or torcheasyrec.",
    required=True,
)
_OUT = flags.DEFINE_string(
    "out", None, "Folder to write, empty or new. Its name becomes the data set's name in file names.", required=True
)
_VOCABULARY = flags.DEFINE_integer(
    "vocabulary",
    0,
    "For tools with token ids: number of tokens of the language model's text tokenizer, len(tokenizer).",
)


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run_with_words(_main, __doc__)


def _main(words: list[str]) -> None:
    from sid_jax.formats.convert import convert
    from sid_jax.messages import Messages

    if len(words) != 1:
        raise UserError("give one export or one file of IDs, as in sid-jax convert exports/NAME --to=TOOL --out=DIR")
    signals.end_with_publication()
    convert(
        words[0],
        _TO.value,
        _OUT.value,
        histories=histories.given(),
        items=items.ITEMS.value,
        vocabulary=_VOCABULARY.value,
        on_unknown=items.ON_UNKNOWN.value,
        messages=Messages.to_console(),
    )
