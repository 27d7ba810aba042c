"""Writes the Semantic IDs of an export as tokens for a language model.

Example:
  sid-jax tokens exports/ml100k --out=tokens/ml100k --vocabulary=128256
"""

from __future__ import annotations

from absl import flags

from sid_jax import command, signals
from sid_jax.buckets.outputs import output_folder
from sid_jax.errors import UserError
from sid_jax.paths import as_path, typed
from sid_jax.tokens.vocabulary import DEFAULT_PATTERN

_OUT = flags.DEFINE_string("out", None, "Folder to write: new, empty, or written by the same command.", required=True)
_PATTERN = flags.DEFINE_string(
    "pattern", DEFAULT_PATTERN, "Pattern of the tokens' text, with {letter} or {level} for the level, and {code}."
)
_VOCABULARY = flags.DEFINE_integer(
    "vocabulary",
    0,
    "Number of tokens of the language model's text tokenizer, len(tokenizer). It is the token id of the first new "
    "token.",
)
_GRAMMARS = flags.DEFINE_list(
    "grammars",
    [],
    "Grammars to write, for serving engines: one or more of regex, ebnf, xgrammar, llguidance, separated by commas. A "
    "grammar accepts only IDs that exist.",
)


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run_with_words(_main, __doc__)


def _main(words: list[str]) -> None:
    if len(words) != 1:
        raise UserError("give one export, as in sid-jax tokens exports/NAME --out=DIR")
    from sid_jax.messages import Messages
    from sid_jax.tokens.write import TOKENS_FILE, write_tokens

    signals.end_with_publication()
    out = output_folder(_OUT.value, unless=TOKENS_FILE)
    messages = Messages.to_console()
    write_tokens(
        as_path(words[0]),
        out,
        pattern=_PATTERN.value,
        first_id=_VOCABULARY.value,
        grammars=_GRAMMARS.value,
        messages=messages,
    )
    messages.line(f"Next: sid-jax llm-data {typed(out)} --histories=FILE --items=FILE --out=DIR")
