"""Writes grammars of a catalog's IDs, for serving engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sid_jax.errors import UserError
from sid_jax.llm.tokens import id_tokens
from sid_jax.paths import file_to_write
from sid_jax.tokens.grammars import grammar_text
from sid_jax.whole_file import whole_file


def grammar(tokens: Any, kind: str = "ebnf", out: str | Path | None = None) -> str:
    """Returns a grammar that allows one existing Semantic ID, with its markers; see docs/llm-serving.md.

    Args:
      tokens: from `add_tokens`, or a source for `id_tokens`. Kinds that are defined on token ids need the token ids
        of the model's text tokenizer, which `add_tokens` and the folder of `sid-jax tokens --vocabulary` provide.
      kind: "regex" or "ebnf", defined on text; "xgrammar" or "llguidance", defined on token ids. See `grammar_text`.
      out: a file to write; None writes no file.

    Raises:
      UserError: if the kind does not exist, the tokens cannot be read, or the file cannot be written.
    """
    made = id_tokens(tokens)
    text = grammar_text(made.trie, made.vocabulary, kind, made.markers, made.marker_ids)
    if out is not None:
        path = file_to_write(out)
        try:
            with whole_file(path) as file:
                file.write(text.encode())
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error
    return text
