"""Trains a small Qwen2 from scratch on Semantic IDs alone. Compares it with popularity and item-kNN.

python benchmarks/llm_beauty.py --ids=exports/beauty --histories=sequences.txt --out=data/beauty-sequences
"""

from __future__ import annotations

import argparse
import time

import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from sid_jax import llm
from sid_jax.messages import Messages


def recommend(ids, histories, out, epochs=13, users=None, seed=0):
    """Trains a model of 0.5M parameters on each user's sequence of IDs, and evaluates it.

    This function is an example of user code.
    """
    torch.manual_seed(seed)
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<end>": 1}, "<pad>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<pad>")
    shape = {"hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(vocab_size=2, num_key_value_heads=4, tie_word_embeddings=True, eos_token_id=1, **shape)
    model = Qwen2ForCausalLM(config)
    tokens = llm.add_tokens(tokenizer, model, ids)
    rows = {"tasks": ["sequence"], "forms": ["text"], "max_history": 50, "copies": epochs, "item_dropout": 0.3}
    llm.write_training_data(tokens, out, histories=histories, **rows)
    steps = {"num_epochs": 1, "batch_size": 32, "learning_rate": 2e-3}
    llm.fine_tune(model, tokenizer, out, **steps, messages=Messages.to_console())
    return llm.evaluate_generation(model, tokenizer, histories, tokens, task="sequence", max_history=50, users=users)


def main() -> None:
    """Prints the results and the total time in seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ids", required=True, help="an export, or a file of IDs")
    parser.add_argument("--histories", required=True)
    parser.add_argument("--out", required=True, help="a new folder for the training data")
    parser.add_argument("--epochs", type=int, default=13)
    parser.add_argument("--users", type=int, help="number of users to evaluate; default: all")
    arguments = parser.parse_args()
    began = time.perf_counter()
    print(recommend(arguments.ids, arguments.histories, arguments.out, arguments.epochs, arguments.users))
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
