"""Measures the size of the grammars of a catalog's IDs, and their cost in XGrammar and in llguidance.

An engine that is not installed is omitted. The IDs are random.

python benchmarks/grammars.py --items=12101 --codes=256
"""

from __future__ import annotations

import argparse
import importlib
import operator
import statistics
import time
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from sid_jax.ids.trie import build_trie
from sid_jax.tokens.grammars import GRAMMARS, grammar_text
from sid_jax.tokens.vocabulary import Vocabulary

# The number of tokens of Qwen2.5 without special tokens.
_OTHER_TOKENS = 151_643
_WALKS = 50
# Seconds to compile, and a function. Each call of the function fills the next mask and returns the time at which
# filling began; after the last mask, it returns None.
Cost: TypeAlias = tuple[float, Callable[[], float | None]]


def main() -> None:
    """Prints a line for each grammar, and below it a line for each installed engine that can read the grammar."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=12_101)
    parser.add_argument("--codes", type=int, default=256)
    parser.add_argument("--kinds", nargs="+", choices=GRAMMARS, default=list(GRAMMARS))
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    # As in trained IDs, some codes are more frequent than others. Here, codes with low numbers are more frequent.
    drawn = (random.random((int(1.3 * arguments.items), 3)) ** 1.5 * arguments.codes).astype(np.int32)
    semantic_ids = random.permutation(np.unique(drawn, axis=0))[: arguments.items]
    vocabulary = Vocabulary((arguments.codes,) * 3, _OTHER_TOKENS)
    texts = [*other_tokens(random), *(text for level in vocabulary.levels for text in level)]
    for kind in arguments.kinds:
        began = time.perf_counter()
        text = grammar_text(build_trie(semantic_ids, vocabulary.sizes), vocabulary, kind)
        print(f"{kind}: {len(semantic_ids):,} IDs, {len(text):,} bytes, written in {time.perf_counter() - began:.2f} s")
        for engine, cost in (("xgrammar", xgrammar), ("llguidance", llguidance)):
            if kind in ("xgrammar", "llguidance") and kind != engine:
                continue
            try:
                importlib.import_module(engine)
            except ModuleNotFoundError:
                continue
            compiled, step = cost(kind, text, texts, vocabulary.token_ids(semantic_ids[:_WALKS]))
            seconds = [time.perf_counter() - at for at in iter(step, None)]
            print(f"  {engine}: {compiled:.2f} s to compile, {1e6 * statistics.median(seconds):.0f} us per mask")


def other_tokens(random: np.random.Generator) -> list[str]:
    """Returns the texts of a model's own tokens: an end token, printable ASCII characters, and random strings."""
    characters = [chr(number) for number in range(32, 127)]
    words = dict.fromkeys(characters)
    while len(words) < _OTHER_TOKENS - 1:
        words["".join(random.choice(characters, random.integers(2, 6)))] = None
    return ["</s>", *words]


def xgrammar(kind: str, text: str, texts: list[str], rows: np.ndarray) -> Cost:
    """Compiles a grammar with XGrammar; returns its `Cost`. A mask is filled for each token of the IDs in `rows`."""
    import xgrammar as xg

    tokenizer = xg.TokenizerInfo(texts, xg.VocabType.RAW, stop_token_ids=[0])
    compiler = xg.GrammarCompiler(tokenizer, max_threads=1, cache_enabled=False)
    began = time.perf_counter()
    compiled = compiler.compile_regex(text) if kind == "regex" else compiler.compile_grammar(text)
    mask = xg.allocate_token_bitmask(1, len(texts))
    seconds = time.perf_counter() - began
    fill = operator.methodcaller("fill_next_token_bitmask", mask)
    return seconds, _walk(rows, lambda: xg.GrammarMatcher(compiled), fill, "accept_token")


def llguidance(kind: str, text: str, texts: list[str], rows: np.ndarray) -> Cost:
    """Compiles a grammar with llguidance; returns its `Cost`. A mask is filled for each token of the IDs in `rows`."""
    import llguidance as ll
    import llguidance.numpy

    class Tokens:
        eos_token_id, bos_token_id, special_token_ids = 0, None, [0]
        tokens = [each.encode() for each in texts]

        def __call__(self, characters: bytes) -> list[int]:
            return [self.tokens.index(bytes([each])) for each in characters]

    tokenizer = ll.LLTokenizer(ll.TokenizerWrapper(Tokens()))
    form = {"ebnf": "gbnf", "llguidance": "lark"}.get(kind, kind)
    began = time.perf_counter()
    first = ll.LLMatcher(tokenizer, ll.grammar_from(form, text))
    seconds = time.perf_counter() - began
    assert not first.is_error(), first.get_error()[:200]
    mask = ll.numpy.allocate_token_bitmask(1, len(texts))
    fill = ll.numpy.fill_next_token_bitmask
    return seconds, _walk(rows, first.deep_copy, lambda matcher: fill(matcher, mask, 0), "consume_token")


def _walk(rows: np.ndarray, start: Callable, fill: Callable, accept: str) -> Callable[[], float | None]:
    places = iter(np.ndindex(rows.shape))
    matcher = None

    def step() -> float | None:
        nonlocal matcher
        place = next(places, None)
        if place is None:
            return None
        if place[1] == 0:
            matcher = start()
        else:
            assert getattr(matcher, accept)(int(rows[place[0], place[1] - 1]))
        began = time.perf_counter()
        fill(matcher)
        return began

    return step


if __name__ == "__main__":
    main()
