"""Writes training data for a language model that reads and writes Semantic IDs. docs/llm-data.md describes the data.

Example:
  sid-jax llm-data exports/beauty --histories=sequences.txt --items=items.jsonl --out=data/beauty
"""

from __future__ import annotations

from absl import flags

from sid_jax import command, signals
from sid_jax.cli import histories, items
from sid_jax.errors import UserError
from sid_jax.tokens.vocabulary import DEFAULT_PATTERN

_OUT = flags.DEFINE_string("out", None, "Folder to write: new or empty.", required=True)
_TASKS = flags.DEFINE_list(
    "tasks",
    [],
    "Tasks, separated by commas: next_id, next_title, next_id_by_titles, id_to_title, title_to_id, "
    "description_to_id, sequence. Default: all that the data allows, except sequence.",
)
_MAX_HISTORY = flags.DEFINE_integer("max_history", 20, "Maximum number of items of a history; older items are dropped.")
_MAX_TEXT = flags.DEFINE_integer("max_text", 500, "Maximum number of characters of a title or description.")
_COPIES = flags.DEFINE_integer(
    "copies",
    1,
    "Number of training rows for each item that a task with histories asks for. For the task sequence, number of "
    "training rows for each user.",
)
_ITEM_DROPOUT = flags.DEFINE_float(
    "item_dropout",
    0.0,
    "Probability that an item of a history is left out of a training row. Half of the rows, drawn at random, are "
    "always complete.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the order, wording and item dropout of training rows.", lower_bound=0)
_PATTERN = flags.DEFINE_string(
    "pattern",
    DEFAULT_PATTERN,
    "Pattern of the tokens' text, as for sid-jax tokens. Ignored for a folder that sid-jax tokens wrote, since the "
    "folder states its pattern.",
)
_MARKERS = flags.DEFINE_list(
    "markers", ["", ""], "Tokens before and after each ID, as in --markers='<|sid_begin|>,<|sid_end|>'."
)
_FORMS = flags.DEFINE_list("forms", ["chat", "text"], "Forms of rows: chat, text, or both, separated by a comma.")
_FILES = flags.DEFINE_list("files", ["parquet"], "File formats: parquet, jsonl, or both, separated by a comma.")


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run_with_words(_main, __doc__)


def _main(words: list[str]) -> None:
    from sid_jax.llm.training_data import write_training_data
    from sid_jax.messages import Messages

    if len(words) != 1:
        raise UserError("give one export or one file of IDs, as in sid-jax llm-data exports/NAME --out=DIR")
    if len(_MARKERS.value) != 2:
        raise UserError("--markers needs two texts separated by a comma, as in '<|sid_begin|>,<|sid_end|>'")
    signals.end_with_publication()
    begin, end = _MARKERS.value
    write_training_data(
        words[0],
        _OUT.value,
        histories=histories.given(),
        items=items.ITEMS.value,
        tasks=_TASKS.value if _TASKS.present else None,
        max_history=_MAX_HISTORY.value,
        max_text=_MAX_TEXT.value,
        copies=_COPIES.value,
        item_dropout=_ITEM_DROPOUT.value,
        seed=_SEED.value,
        pattern=_PATTERN.value,
        markers=(begin, end),
        forms=_FORMS.value,
        files=_FILES.value,
        on_unknown=items.ON_UNKNOWN.value,
        messages=Messages.to_console(),
    )
