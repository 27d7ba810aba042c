"""Time and memory of constrained generation with transformers, beside free generation, in one process.

python benchmarks/constrained_decoding.py --items=12101,1000000

A Qwen2 with random weights generates IDs of 3 codes for 32 prompts of different lengths, padded on the left, with 20
beams: without a constraint, with `SemanticIdLogitsProcessor`, and with `prefix_allowed_tokens_fn`. Times are the least
CPU times of several rounds, since other processes only add to them; set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import dataclasses
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
    """Prints a table with a line for each number of items."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", default="12101,1000000")
    parser.add_argument("--words", type=int, default=12_000, help="size of the model's own vocabulary")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--beams", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--function", action="store_true", help="time prefix_allowed_tokens_fn too")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = language_model(arguments.words + LEVELS * CODES)
    inputs = prompts(arguments.batch, arguments.words)
    print(f"{sum(each.numel() for each in model.parameters()):,} parameters, {torch.get_num_threads()} threads")
    for items in map(int, arguments.items.split(",")):
        tokens = random_tokens(items, arguments.words)
        processor = Timed(SemanticIdLogitsProcessor(tokens, model, inputs["input_ids"].shape[1]))
        searches: dict[str, dict[str, Any]] = {"free": {}, "processor": {"logits_processor": [processor]}}
        if arguments.function:
            searches["function"] = {
                "prefix_allowed_tokens_fn": allowed_tokens(tokens, inputs["input_ids"].shape[1], END)
            }
        seconds, found = timed(searches, model, inputs, arguments)
        show(items, tokens, seconds, found)
        print(f"  the processor itself: {statistics.median(processor.seconds) * 1e3:.1f} ms a step")


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
    """Returns prompts of 20 to 60 tokens, padded on the left."""
    lengths = torch.randint(20, 61, (batch,))
    mask = (torch.arange(60) >= 60 - lengths[:, None]).long()
    return {"input_ids": torch.where(mask > 0, torch.randint(2, words, (batch, 60)), PAD), "attention_mask": mask}


class Timed:
    """A logits processor with the CPU seconds of each call."""

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
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Returns the least CPU seconds of each search over alternating rounds, and what it generated."""
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    found = {}
    for _ in range(arguments.rounds + 1):
        for name, options in searches.items():
            began = time.process_time()
            found[name] = model.generate(
                **inputs, **options, num_beams=arguments.beams, num_return_sequences=arguments.beams,
                max_new_tokens=LEVELS, min_new_tokens=LEVELS, do_sample=False,
            )[:, inputs["input_ids"].shape[1] :]  # fmt: skip
            seconds[name].append(time.process_time() - began)
    # The first round warms up.
    return {name: min(times[1:]) for name, times in seconds.items()}, found


def show(items: int, tokens: IdTokens, seconds: dict[str, float], found: dict[str, torch.Tensor]) -> None:
    """Prints times, their ratios to free generation, and the share of IDs that do not exist."""
    trie = token_trie(tokens, torch.device("cpu"))
    print(f"{items:,} items, mask {trie.num_bytes / 1e6:.1f} MB")
    for name, least in seconds.items():
        depth, _ = trie.states(found[name])
        print(
            f"  {name:<10} {least / LEVELS * 1e3:7.1f} ms a step  {least / seconds['free']:6.3f} x  "
            f"{(depth < LEVELS).float().mean():6.1%} of IDs do not exist"
        )


if __name__ == "__main__":
    main()
