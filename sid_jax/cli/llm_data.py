"""Writes training data for a language model that reads and writes Semantic IDs; docs/llm-data.md describes it.

sid-jax llm-data exports/beauty --histories=sequences.txt --items=items.jsonl --out=data/beauty
"""

from __future__ import annotations

from absl import flags

from sid_jax import command, signals
from sid_jax.errors import UserError
from sid_jax.tokens.vocabulary import DEFAULT_PATTERN

_OUT = flags.DEFINE_string("out", None, "The folder to write: empty or new.", required=True)
_HISTORIES = flags.DEFINE_string(
    "histories",
    None,
    "Interaction histories: a text file with one line for each user, a table of interactions, or an inter.json.",
)
_ITEMS = flags.DEFINE_string(
    "items", None, "Titles, descriptions and other columns of items: a table, lines of JSON, or an item.json."
)
_TASKS = flags.DEFINE_list(
    "tasks",
    [],
    "The tasks, with commas: next_id, next_title, next_id_by_titles, id_to_title, title_to_id, description_to_id, "
    "sequence. Without it: all but sequence for which there is data.",
)
_MAX_HISTORY = flags.DEFINE_integer("max_history", 20, "The maximum number of items in a history; the last ones stay.")
_MAX_TEXT = flags.DEFINE_integer("max_text", 500, "The maximum number of characters of a title or description.")
_SEED = flags.DEFINE_integer("seed", 0, "The seed of the order of training rows, and of their wording.")
_PATTERN = flags.DEFINE_string(
    "pattern",
    DEFAULT_PATTERN,
    "The name of a token, as in sid-jax tokens, whose folder has its own: sid-jax llm-data tokens/NAME.",
)
_MARKERS = flags.DEFINE_list(
    "markers", ["", ""], "The tokens before and after each ID, with a comma: --markers='<|sid_begin|>,<|sid_end|>'."
)
_FORMS = flags.DEFINE_list("forms", ["chat", "text"], "chat, text, or both with a comma.")
_FILES = flags.DEFINE_list("files", ["parquet"], "parquet, jsonl, or both with a comma.")
_ON_UNKNOWN = flags.DEFINE_enum(
    "on_unknown",
    "error",
    ["error", "drop"],
    "--histories: what is done with items that have no Semantic ID: error refuses them, drop leaves them out.",
)


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run_with_words(_main, __doc__)


def _main(words: list[str]) -> None:
    from sid_jax.llm.training_data import write_training_data
    from sid_jax.messages import Messages

    if len(words) != 1:
        raise UserError("name one export, or file of IDs: sid-jax llm-data exports/NAME --out=DIR")
    if len(_MARKERS.value) != 2:
        raise UserError("--markers has two texts and a comma between them, as in '<|sid_begin|>,<|sid_end|>'")
    signals.end_with_publication()
    begin, end = _MARKERS.value
    write_training_data(
        words[0],
        _OUT.value,
        histories=_HISTORIES.value,
        items=_ITEMS.value,
        tasks=_TASKS.value or None,
        max_history=_MAX_HISTORY.value,
        max_text=_MAX_TEXT.value,
        seed=_SEED.value,
        pattern=_PATTERN.value,
        markers=(begin, end),
        forms=_FORMS.value,
        files=_FILES.value,
        on_unknown=_ON_UNKNOWN.value,
        messages=Messages.to_console(),
    )
