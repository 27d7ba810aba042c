"""The language of each grammar is exactly the set of existing IDs, according to `re` or to the parser in this file."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_jax.errors import UserError
from sid_jax.ids.trie import build_trie
from sid_jax.llm import grammar, id_tokens
from sid_jax.messages import Messages
from sid_jax.tokens.grammars import GRAMMARS, grammar_text
from sid_jax.tokens.vocabulary import Vocabulary
from sid_jax.tokens.write import write_tokens
from tests.tokens.conftest import FIRST_ID, SIZES, made_ids

_LEXEMES = re.compile(r'\s+|"((?:[^"\\]|\\.)*)"|Token\(([\d,]+)\)|<\[([\d,]+)\]>|([()|])')


def language(text: str) -> list[tuple[str | int, ...]]:
    """Parses an expression; returns all words of its language, as tuples of texts or of token ids."""
    lexemes, place = [], 0
    while place < len(text):
        found = _LEXEMES.match(text, place)
        assert found, text[place : place + 40]
        literal, *ids, mark = found.groups()
        place = found.end()
        if literal is not None:
            lexemes.append([(re.sub(r"\\(.)", r"\1", literal),)])
        elif any(ids):
            lexemes.append([(int(number),) for number in next(filter(None, ids)).split(",")])
        elif mark:
            lexemes.append(mark)

    def choice(at: int) -> tuple[list, int]:
        words, at = sequence(at)
        while at < len(lexemes) and lexemes[at] == "|":
            more, at = sequence(at + 1)
            words = words + more
        return words, at

    def sequence(at: int) -> tuple[list, int]:
        words = [()]
        while at < len(lexemes) and lexemes[at] not in (")", "|"):
            part, after = choice(at + 1) if lexemes[at] == "(" else (lexemes[at], at)
            at = after + 1
            words = [one + other for one, other in itertools.product(words, part)]
        return words, at

    words, end = choice(0)
    assert end == len(lexemes)
    return words


def of_rules(grammar: str, sign: str, root: str) -> list[tuple[str | int, ...]]:
    first, second = grammar.splitlines()
    assert first == f"{root}{sign}id"
    assert second.startswith(f"id{sign}")
    return language(second.removeprefix(f"id{sign}"))


@st.composite
def tables(draw):
    """Draws IDs, some of which may be equal, and a vocabulary."""
    sizes = tuple(draw(st.lists(st.integers(1, 12), min_size=1, max_size=4)))
    row = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    rows = draw(st.lists(row, min_size=1, max_size=12))
    pattern = draw(
        st.sampled_from(["<{letter}_{code}>", "[sid{level}:{code}]", '<"\\{level}.{code}*>', "({code}|{level}]"])
    )
    return np.array(rows, np.int32), Vocabulary(sizes, draw(st.integers(0, 200)), pattern)


@settings(max_examples=60, deadline=None)
@given(tables())
def test_the_language_of_each_kind_is_the_ids_that_exist(drawn):
    semantic_ids, vocabulary = drawn
    trie = build_trie(semantic_ids, vocabulary.sizes)
    markers, marker_ids = ('<|"begin|>', ""), (500, -1)
    expected = {'<|"begin|>' + text for text in vocabulary.texts(semantic_ids).to_pylist()}
    words = of_rules(grammar_text(trie, vocabulary, "ebnf", markers, marker_ids), " ::= ", "root")
    assert sorted("".join(word) for word in words) == sorted(expected)
    numbers = sorted((500, *row) for row in set(map(tuple, vocabulary.token_ids(semantic_ids).tolist())))
    for kind, sign, root in (("xgrammar", " ::= ", "root"), ("llguidance", ": ", "start")):
        assert sorted(of_rules(grammar_text(trie, vocabulary, kind, markers, marker_ids), sign, root)) == numbers
    pattern = re.compile(grammar_text(trie, vocabulary, "regex", markers, marker_ids))
    assert all(pattern.fullmatch(text) for text in expected)
    others = itertools.islice(itertools.product(*map(range, vocabulary.sizes)), 400)
    for text in vocabulary.texts(np.array(list(others), np.int32)).to_pylist():
        assert bool(pattern.fullmatch('<|"begin|>' + text)) == ('<|"begin|>' + text in expected)
    assert not pattern.fullmatch(text + text)


def test_what_follows_many_codes_is_written_once():
    # The second code is nearly always 0, like a suffix.
    semantic_ids = np.array([(first, 0) for first in range(50)] + [(7, 1)])
    text = grammar_text(build_trie(semantic_ids), Vocabulary((50, 2)), "regex")
    assert (
        text.count("b_") == 2
        and len(language(grammar_text(build_trie(semantic_ids), Vocabulary((50, 2)), "llguidance").splitlines()[1][4:]))
        == 51
    )


def test_the_command_writes_grammars_with_the_models_own_numbers(made, tmp_path):
    write_tokens(
        made / "exports" / "suffix",
        tmp_path / "t",
        first_id=FIRST_ID,
        grammars=list(GRAMMARS),
        messages=Messages.silent(),
    )
    _, semantic_ids = made_ids("suffix")
    tokens = id_tokens(tmp_path / "t")
    numbers = sorted(set(map(tuple, tokens.token_ids.tolist())))
    text = (tmp_path / "t" / "grammar.xgrammar.ebnf").read_text()
    assert sorted(of_rules(text, " ::= ", "root")) == numbers
    assert len(numbers) == len(np.unique(semantic_ids, axis=0)) and numbers[0][0] >= FIRST_ID
    for kind, name in GRAMMARS.items():
        out = tmp_path / f"{kind}.txt"
        assert grammar(tokens, kind, out) == out.read_text() == (tmp_path / "t" / name).read_text()


def test_what_cannot_be_written_is_refused(tmp_path):
    trie = build_trie(np.zeros((1, 3), int), SIZES)
    with pytest.raises(UserError, match="no grammar 'yacc'; the grammars are regex, ebnf, xgrammar, llguidance"):
        grammar_text(trie, Vocabulary(SIZES), "yacc")
    with pytest.raises(UserError, match="needs the token id of '<x>'"):
        grammar_text(trie, Vocabulary(SIZES), "xgrammar", ("<x>", ""))
