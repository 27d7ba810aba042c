"""Fine-tunes a small language model in plain PyTorch. For large models, use a trainer such as TRL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from sid_jax.errors import UserError
from sid_jax.llm.training_data import TEXT_TRAIN_FILE
from sid_jax.messages import Messages
from sid_jax.paths import as_path
from sid_jax.streams import stream_rng

# Rows are shuffled and divided into pools of this many batches. The rows of a pool are sorted by length, so that its
# batches have little padding.
_POOL = 50
_IGNORED = -100


def fine_tune(
    model: Any,
    tokenizer: Any,
    folder: str | Path,
    *,
    num_epochs: int = 3,
    batch_size: int = 32,
    learning_rate: float = 2e-4,
    weight_decay: float = 0.01,
    warmup: float = 0.05,
    max_length: int = 1024,
    seed: int = 0,
    messages: Messages | None = None,
) -> list[float]:
    """Trains a model in place on the prompts and completions of `sid-jax llm-data`.

    The loss is the cross-entropy of the completions, including an end token. The learning rate of AdamW rises to
    `learning_rate`, and then decays to 0 with a cosine schedule. Gradients are clipped to norm 1.

    Args:
      model: a transformers model with a causal language modeling head, on its device.
      tokenizer: the text tokenizer of `model`, with an end token.
      folder: the folder that `write_training_data` wrote, with the form "text" in .parquet files.
      num_epochs: number of passes over all rows.
      batch_size: number of rows per step.
      learning_rate, weight_decay: hyperparameters of AdamW.
      warmup: share of all steps during which the learning rate rises.
      max_length: maximum number of tokens of a row; of longer rows, the last tokens are kept.
      seed: seed of the order of rows. Dropout draws from PyTorch's own generator.
      messages: where progress and a line per epoch are printed; None prints nothing.

    Returns:
      The mean loss of each epoch.

    Raises:
      UserError: if the folder has no prompts and completions, or the text tokenizer has no end token.
    """
    rows = _encoded(_read(as_path(folder) / TEXT_TRAIN_FILE), tokenizer, max_length)
    steps = num_epochs * -(-len(rows) // batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, warmup))
    losses, random, training = [], stream_rng(seed, "fine_tune"), model.training
    model.train()
    messages = messages or Messages.silent()
    with messages.progress("fine-tuning, steps", steps) as progress:
        for epoch in range(num_epochs):
            began, total = time.perf_counter(), 0.0
            for number, batch in enumerate(_batches(rows, batch_size, random), start=1):
                loss = model(**{name: values.to(model.device) for name, values in batch.items()}).loss
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                total += loss.item() * len(batch["input_ids"])
                progress.move(epoch * (steps // num_epochs) + number, f"loss {loss.item():.3f}")
            losses.append(total / len(rows))
            seconds = time.perf_counter() - began
            messages.line(f"epoch {epoch + 1} of {num_epochs}: loss {losses[-1]:.4f}, {seconds:.1f} s")
    model.train(training)
    return losses


def _read(path: Path) -> tuple[list[str], list[str]]:
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; give a folder of sid-jax llm-data with --forms=text and --files=parquet"
        )
    table = pq.read_table(path, columns=["prompt", "completion"])
    return table["prompt"].to_pylist(), table["completion"].to_pylist()


def _encoded(texts: tuple[list[str], list[str]], tokenizer: Any, max_length: int) -> list[tuple[list[int], int]]:
    """Returns the token ids of each row, with the length of its prompt."""
    if tokenizer.eos_token_id is None:
        raise UserError("the text tokenizer has no end token, which each completion needs; set its eos_token")
    prompts = tokenizer(texts[0])["input_ids"]
    answers = tokenizer(texts[1], add_special_tokens=False)["input_ids"]
    rows = []
    for prompt, answer in zip(prompts, answers, strict=True):
        cut = max(0, len(prompt) + len(answer) + 1 - max_length)
        rows.append(([*prompt, *answer, tokenizer.eos_token_id][cut:], max(0, len(prompt) - cut)))
    return rows


def _batches(
    rows: list[tuple[list[int], int]], batch_size: int, random: np.random.Generator
) -> Iterator[dict[str, torch.Tensor]]:
    """Yields all rows once, in random order, in batches of rows of similar length."""
    order = random.permutation(len(rows))
    lengths = np.array([len(ids) for ids, _ in rows])
    batches = []
    for at in range(0, len(order), _POOL * batch_size):
        pool = order[at : at + _POOL * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
    for place in random.permutation(len(batches)):
        yield _padded([rows[row] for row in batches[place]])


def _padded(rows: list[tuple[list[int], int]]) -> dict[str, torch.Tensor]:
    """Returns `input_ids`, `attention_mask` and `labels`, `[B, W]` int64 each, padded on the right."""
    shape = (len(rows), max(len(ids) for ids, _ in rows))
    input_ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    labels = np.full(shape, _IGNORED)
    for row, (ids, prompt) in enumerate(rows):
        input_ids[row, : len(ids)], mask[row, : len(ids)] = ids, 1
        labels[row, prompt : len(ids)] = ids[prompt:]
    arrays = {"input_ids": input_ids, "attention_mask": mask, "labels": labels}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _rate(step: int, steps: int, warmup: float) -> float:
    """Returns the learning rate at a step, relative to the peak."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + np.cos(np.pi * (step - rising) / max(1, steps - rising)))
