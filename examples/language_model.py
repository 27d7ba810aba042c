"""Recommendation with a language model: ID tokens, training data, fine-tuning, and generation of existing IDs only.

python examples/language_model.py [MODEL]

MODEL is the folder or the name of a causal language model for the library transformers. Without MODEL, the
example uses a tiny model with random weights and takes seconds. The example needs pip install -e '.[llm]' and PyTorch.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

import sid_jax
from sid_jax import llm

NUM_ITEMS, NUM_KINDS, NUM_FEATURES, NUM_USERS, LENGTH = 1000, 40, 32, 400, 6


def make_catalog() -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """Returns vectors [N, D] and kinds [N] of synthetic items, and histories of users, each with items of one kind."""
    random = np.random.default_rng(0)
    kind = np.arange(NUM_ITEMS) % NUM_KINDS
    vectors = random.normal(size=(NUM_KINDS, NUM_FEATURES))[kind] + 0.4 * random.normal(size=(NUM_ITEMS, NUM_FEATURES))
    of_users = [random.choice(np.flatnonzero(kind == user % NUM_KINDS), LENGTH) for user in range(NUM_USERS)]
    return vectors.astype(np.float32), kind, [history.tolist() for history in of_users]


def tiny_model(texts: list[str]) -> tuple[Any, Any]:
    """Returns a text tokenizer that is trained on the texts, and a model with random weights."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=300, special_tokens=["<pad>", "<s>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, pad_token="<pad>", eos_token="<s>")
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return tokenizer, Qwen2ForCausalLM(config)


def main(folder: str = "llm", model_name: str = "", passes: int = 10, **settings: Any) -> float:
    """Runs the example; returns the share of the recommended items that are of the user's kind.

    `settings` are settings of `SemanticIdTokenizer`, and `passes` is the number of epochs of fine-tuning.
    """
    torch.manual_seed(0)
    vectors, kind, histories = make_catalog()
    titles = [f"item of kind {each}" for each in kind]
    items = sid_jax.SemanticIdTokenizer(**{"num_levels": 3, "codebook_size": 64, "num_epochs": 20.0, **settings})
    items.fit(vectors, columns={"title": titles})

    if model_name:
        tokenizer = AutoTokenizer.from_pretrained(model_name)
        model = AutoModelForCausalLM.from_pretrained(model_name)
    else:
        tokenizer, model = tiny_model(titles)
    tokenizer.padding_side = "left"
    tokens = llm.add_tokens(tokenizer, model, items)

    # The training data are histories that consist of IDs only. Tasks with words, such as "next_id" and "id_to_title",
    # are for pretrained models.
    llm.write_training_data(items, f"{folder}/data", histories=histories, tasks=["sequence"], forms=["text"])
    losses = llm.fine_tune(model, tokenizer, f"{folder}/data", num_epochs=passes, learning_rate=3e-3)

    prompts = ["".join(tokens.texts.take(history[:-1]).to_pylist()) for history in histories[:NUM_KINDS]]
    answers = llm.generate_ids(model, tokenizer(prompts, return_tensors="pt"), tokens, num_beams=5)
    found = answers.rows(5)
    share = float(np.mean(kind[found] == np.arange(NUM_KINDS)[:, None]))
    print(f"loss {losses[-1]:.2f}; {100 * answers.exists.mean():.0f} % of the generated IDs exist")
    print(f"{100 * share:.0f} % of the recommended items are of the user's kind (by chance: {100 / NUM_KINDS:.1f} %)")
    return share


if __name__ == "__main__":
    main(model_name="".join(sys.argv[1:2]))
