"""Writes grammars of the existing IDs, for serving engines that constrain the output of a language model.

A grammar describes the prefix trie. If several codes of a node have the same continuation, such as the same suffix, the
codes are written as alternatives, and the continuation is written once.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable

import numpy as np

from sid_jax.errors import UserError
from sid_jax.ids.trie import Trie
from sid_jax.tokens.vocabulary import Vocabulary

# The kinds of grammars, and the file of each kind.
GRAMMARS = {
    "regex": "grammar.regex",
    "ebnf": "grammar.ebnf",
    "xgrammar": "grammar.xgrammar.ebnf",
    "llguidance": "grammar.lark",
}


@dataclasses.dataclass(frozen=True)
class _Notation:
    """The notation of a kind of grammar.

    Attributes:
      codes: returns the expression that matches any one of the given codes of a level.
      marker: returns the expression of a marker, given its text and its token id.
      sequence: the separator of consecutive expressions.
      group: the brackets around alternatives. "|" separates the alternatives.
      whole: the grammar, with {} for the expression of an ID.
    """

    codes: Callable[[int, list[int]], str]
    marker: Callable[[str, int], str]
    sequence: str
    group: tuple[str, str]
    whole: str

    def following(self, *parts: str) -> str:
        """Returns the expression of consecutive parts; empty parts are skipped."""
        return self.sequence.join(filter(None, parts))

    def choice(self, parts: list[str]) -> str:
        """Returns the expression of alternatives."""
        return parts[0] if len(parts) == 1 else "|".join(parts).join(self.group)


def grammar_text(
    trie: Trie,
    vocabulary: Vocabulary,
    kind: str,
    markers: tuple[str, str] = ("", ""),
    marker_ids: tuple[int, int] = (-1, -1),
) -> str:
    """Returns a grammar whose language is the set of IDs of a trie, as a model writes them.

    Args:
      trie: the trie.
      vocabulary: the tokens of its codes.
      kind: "regex" is a regular expression over text. "ebnf" is a grammar over text, in a notation that llama.cpp,
        XGrammar and llguidance read. "xgrammar" and "llguidance" are grammars over token ids, in the notation of the
        engine of this name. In all kinds but "regex", the rule of one ID is named `id`.
      markers: texts of the tokens before and after each ID; "" for none.
      marker_ids: token ids of the markers; -1 for no marker, or if the id is unknown.

    Raises:
      UserError: if the kind does not exist, or if it needs the token id of a marker and this token id is unknown.
    """
    check_grammars([kind])
    notation = _NOTATIONS[kind](vocabulary)
    both = zip(markers, marker_ids, strict=True)
    begin, end = (notation.marker(text, number) if text else "" for text, number in both)
    expressions = [end] * len(trie.codes[-1])
    for level in reversed(range(len(trie.codes))):
        codes, ends = np.asarray(trie.codes[level]).tolist(), np.asarray(trie.first_child[level]).tolist()
        expressions = [
            _node(level, codes[first:last], expressions[first:last], notation)
            for first, last in zip(ends[:-1], ends[1:], strict=True)
        ]
    return notation.whole.replace("{}", notation.following(begin, *expressions))


def check_grammars(kinds: Iterable[str]) -> None:
    """Raises a UserError if one of the kinds does not exist."""
    for kind in kinds:
        if kind not in GRAMMARS:
            raise UserError(f"there is no grammar {kind!r}; the grammars are {', '.join(GRAMMARS)}")


def _node(level: int, codes: list[int], rests: list[str], notation: _Notation) -> str:
    """Returns the expression of a node: its codes, each followed by the expression of the code's child node."""
    together: dict[str, list[int]] = {}
    for code, rest in zip(codes, rests, strict=True):
        together.setdefault(rest, []).append(code)
    return notation.choice([notation.following(notation.codes(level, same), rest) for rest, same in together.items()])


def _regex(vocabulary: Vocabulary) -> _Notation:
    ends, group = _around_codes(vocabulary), ("(?:", ")")

    def codes(level: int, codes: list[int]) -> str:
        begin, end = map(re.escape, ends[level])
        return f"{begin}{codes[0] if len(codes) == 1 else '|'.join(map(str, codes)).join(group)}{end}"

    return _Notation(codes, lambda text, _: re.escape(text), "", group, "{}")


def _ebnf(vocabulary: Vocabulary) -> _Notation:
    ends = _around_codes(vocabulary)

    def codes(level: int, codes: list[int]) -> str:
        begin, end = ends[level]
        if len(codes) == 1:
            return _quoted(f"{begin}{codes[0]}{end}")
        return f"{_quoted(begin)} ({'|'.join(_quoted(str(code)) for code in codes)}) {_quoted(end)}"

    return _Notation(codes, lambda text, _: _quoted(text), " ", ("(", ")"), "root ::= id\nid ::= {}\n")


def _xgrammar(vocabulary: Vocabulary) -> _Notation:
    return _over_ids(vocabulary, ("Token(", ")"), "root ::= id\nid ::= {}\n")


def _llguidance(vocabulary: Vocabulary) -> _Notation:
    return _over_ids(vocabulary, ("<[", "]>"), "start: id\nid: {}\n")


def _over_ids(vocabulary: Vocabulary, brackets: tuple[str, str], whole: str) -> _Notation:
    offsets = vocabulary.offsets

    def codes(level: int, codes: list[int]) -> str:
        return ",".join(str(offsets[level] + code) for code in codes).join(brackets)

    def marker(text: str, number: int) -> str:
        if number < 0:
            raise UserError(
                f"a grammar over token ids needs the token id of {text!r}; pass the language model's text tokenizer to "
                "id_tokens"
            )
        return str(number).join(brackets)

    return _Notation(codes, marker, " ", ("(", ")"), whole)


_NOTATIONS = {"regex": _regex, "ebnf": _ebnf, "xgrammar": _xgrammar, "llguidance": _llguidance}


def _around_codes(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Returns the texts before and after the code in the tokens of each level."""
    two = dataclasses.replace(vocabulary, sizes=(2,) * len(vocabulary.sizes), first_id=0)
    # The tokens of codes 0 and 1 differ only in the code.
    begins = [os.path.commonprefix(pair) for pair in two.levels]
    return [(begin, text[len(begin) + 1 :]) for begin, (text, _) in zip(begins, two.levels, strict=True)]


def _quoted(text: str) -> str:
    """Returns a text as a quoted literal of a grammar."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
