"""Time and memory of constrained generation with transformers, compared with unconstrained generation.

python benchmarks/constrained_decoding.py --items=12101,1000000

A Qwen2 with random weights generates IDs of 3 codes for 32 prompts of different lengths, padded on the left, with 20
beams. It generates them without a constraint ("free"), with `SemanticIdLogitsProcessor` ("processor"), with the same
processor and `in_place=True` ("in place"), and if --function is given, with `prefix_allowed_tokens_fn` ("function").
Each time is the CPU time of one generation, divided by its 3 steps. The script prints the median over the rounds. In
each round, the CPU time is also divided by the CPU time of "free"; the number before "x" is the median of these ratios.

Set OMP_NUM_THREADS=1. In some processes, glibc returns the memory of large arrays to the system and requests it again.
A generation then has 60,000 to 110,000 page faults, which take up to a fifth of its time. Take the median of several
runs, or set MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ to 10000000000, which prevents the page faults.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import statistics
import time
from typing import Any

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from sid_jax.ids.table import IdTable
from sid_jax.llm import IdTokens, SemanticIdLogitsProcessor, allowed_tokens, id_tokens
from sid_jax.llm.constraint import token_trie

LEVELS, CODES, END, PAD = 3, 256, 1, 0


def main() -> None:
    """Prints, for each number of items, a line for each kind of generation and a line for each logits processor."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", default="12101,1000000")
    parser.add_argument("--words", type=int, default=12_000, help="size of the vocabulary without the ID tokens")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--beams", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--function", action="store_true", help="also time prefix_allowed_tokens_fn")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = language_model(arguments.words + LEVELS * CODES)
    inputs = prompts(arguments.batch, arguments.words)
    print(f"{sum(each.numel() for each in model.parameters()):,} parameters, {torch.get_num_threads()} threads")
    for items in map(int, arguments.items.split(",")):
        tokens = random_tokens(items, arguments.words)
        length = inputs["input_ids"].shape[1]
        processors = {
            name: Timed(SemanticIdLogitsProcessor(tokens, model, length, in_place=name == "in place"))
            for name in ("processor", "in place")
        }
        searches: dict[str, dict[str, Any]] = {"free": {}}
        searches |= {name: {"logits_processor": [processor]} for name, processor in processors.items()}
        if arguments.function:
            searches["function"] = {"prefix_allowed_tokens_fn": allowed_tokens(tokens, length, END)}
        seconds, found = timed(searches, model, inputs, arguments)
        show(items, tokens, seconds, found)
        for name, processor in processors.items():
            print(f"  {name}, the logits processor alone: {statistics.median(processor.seconds) * 1e3:.1f} ms a step")


def language_model(vocab_size: int) -> Qwen2ForCausalLM:
    """Returns a Qwen2 of four layers with random weights."""
    config = Qwen2Config(
        vocab_size=vocab_size, hidden_size=64, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=END, eos_token_id=END, pad_token_id=PAD,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


def random_tokens(items: int, first_id: int) -> IdTokens:
    """Returns the tokens of distinct random IDs."""
    places = np.random.default_rng(0).choice(CODES**LEVELS, items, replace=False)
    ids = np.stack(np.unravel_index(places, (CODES,) * LEVELS), axis=1).astype(np.int32)
    tokens = id_tokens(IdTable(np.arange(items), ids, sizes=(CODES,) * LEVELS, check=False))
    return dataclasses.replace(tokens, vocabulary=dataclasses.replace(tokens.vocabulary, first_id=first_id))


def prompts(batch: int, words: int) -> dict[str, torch.Tensor]:
    """Returns prompts of 5 to 20 tokens, padded on the left."""
    lengths = torch.randint(5, 21, (batch,))
    mask = (torch.arange(20) >= 20 - lengths[:, None]).long()
    return {"input_ids": torch.where(mask > 0, torch.randint(2, words, (batch, 20)), PAD), "attention_mask": mask}


class Timed:
    """Wraps a logits processor and records the CPU time of each call in seconds."""

    def __init__(self, processor: SemanticIdLogitsProcessor):
        self.processor, self.seconds = processor, []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Calls the processor."""
        began = time.process_time()
        kept = self.processor(input_ids, scores)
        self.seconds.append(time.process_time() - began)
        return kept


def timed(
    searches: dict[str, dict[str, Any]], model: Any, inputs: dict[str, torch.Tensor], arguments: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, torch.Tensor]]:
    """Runs the searches in a random order per round; returns each search's CPU seconds and generated tokens."""
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    found = {}
    order = random.Random(0)
    for _ in range(arguments.rounds + 1):
        for name, options in order.sample(list(searches.items()), len(searches)):
            began = time.process_time()
            found[name] = model.generate(
                **inputs, **options, num_beams=arguments.beams, num_return_sequences=arguments.beams,
                max_new_tokens=LEVELS, min_new_tokens=LEVELS, do_sample=False,
            )[:, inputs["input_ids"].shape[1] :]  # fmt: skip
            seconds[name].append(time.process_time() - began)
    # The first round is excluded, since it is a warm-up.
    return {name: times[1:] for name, times in seconds.items()}, found


def show(items: int, tokens: IdTokens, seconds: dict[str, list[float]], found: dict[str, torch.Tensor]) -> None:
    """Prints times, their ratios to unconstrained generation, and the share of generated IDs that do not exist."""
    trie = token_trie(tokens, torch.device("cpu"))
    print(f"{items:,} items, trie of {trie.num_bytes / 1e6:.1f} MB")
    for name, times in seconds.items():
        ratio = statistics.median(each / free for each, free in zip(times, seconds["free"], strict=True))
        depth, _ = trie.states(found[name])
        print(
            f"  {name:<10} {statistics.median(times) / LEVELS * 1e3:7.1f} ms a step  {ratio:6.3f} x  "
            f"{(depth < LEVELS).float().mean():6.1%} of IDs do not exist"
        )


if __name__ == "__main__":
    main()
