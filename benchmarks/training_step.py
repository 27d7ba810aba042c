"""Measures the speed of a training step of the generative decoder, and of the same model in PyTorch.

python benchmarks/training_step.py

This script needs PyTorch, from the `test` extra. The decoder has the default settings. Both models have the same
initial weights, and train on the same batches of random histories. The losses without dropout are printed first, to
show that the models are the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from ml_collections import ConfigDict
from torch import nn
from torch.nn import functional

from sid_jax.ids.table import IdTable
from sid_jax.ids.trie import Trie
from sid_jax.recommend.config import default_config
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.data.id_makers import make_ids
from sid_jax.recommend.data.packing import PackedRows
from sid_jax.recommend.models import build_model
from sid_jax.recommend.models.catalog import Catalog, catalog_of
from sid_jax.recommend.training.step import Recipe, make_state, train_steps
from sid_jax.training.sharding import all_devices

# Number of steps that are timed together: one call of `train_steps`, or a loop of as many steps in PyTorch.
_STEPS_PER_ROUND = 5


def main() -> None:
    """Prints the losses of both models without dropout, and the median time per step over alternating rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=12_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="number of PyTorch's threads")
    parser.add_argument("--compile", action="store_true", help="also time torch.compile, which needs a C++ compiler")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    config = default_config()
    ids = make_ids("random", np.arange(arguments.items), None, num_levels=3, num_codes=256, seed=0).semantic_ids[:, :3]
    nothing = np.zeros(len(ids), int)
    candidates = Candidates.of(
        IdTable(np.arange(len(ids)), ids, shared=True), nothing, nothing.astype(bool), (256,) * 3
    )
    trie = candidates.trie
    examples = _random_rows(arguments.items, config)
    catalog = catalog_of(candidates, trie)

    ours = _OurTrainer(config, candidates, examples, catalog)
    theirs = _TorchTrainer(config, trie, ours.model, examples, catalog)
    print(f"loss without dropout: sid_jax {ours.loss():.6f}, PyTorch {theirs.loss():.6f}")
    contestants: dict[str, Callable[[], None]] = {"sid_jax": ours.train, "PyTorch": theirs.train}
    if arguments.compile:
        contestants["torch.compile"] = _TorchTrainer(config, trie, ours.model, examples, catalog, compiled=True).train
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(arguments.rounds + 1):
        for name, train in contestants.items():
            began = time.perf_counter()
            train()
            seconds[name].append((time.perf_counter() - began) / _STEPS_PER_ROUND)
    # The first round is excluded, since it includes the compilation.
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<14} {median * 1e3:8.1f} ms per step, {median / medians['sid_jax']:.2f} x sid_jax")


def _random_rows(num_items: int, config: ConfigDict) -> PackedRows:
    """Returns packed rows of random histories of eight items, about as long as the histories of Amazon Beauty."""
    random, train = np.random.default_rng(0), config.train
    num_rows = train.batch_size * _STEPS_PER_ROUND
    items = random.integers(0, num_items, (num_rows, train.row_length + 1)).astype(np.int32)
    segments = np.repeat(1 + np.arange(-(-train.row_length // 8)), 8)[: train.row_length].astype(np.int32)
    shape = (num_rows, train.row_length)
    return PackedRows(items[:, :-1], items[:, 1:], np.broadcast_to(segments, shape), np.ones(shape, np.float32))


class _OurTrainer:
    def __init__(self, config: ConfigDict, candidates: Candidates, examples: PackedRows, catalog: Catalog):
        self.model = build_model(config, candidates)
        self._recipe = Recipe.of(config, len(examples.inputs), self.model)
        self._state = jax.tree.map(np.asarray, make_state(self.model, self._recipe.init_optimizer))
        self._examples, self._catalog, self._mesh = jax.device_put(examples), catalog, all_devices()

    def loss(self) -> float:
        total, weight = self.model.loss(self._examples, self._catalog, None)
        return float(total.sum() / weight)

    def train(self) -> None:
        self._state, _ = train_steps(
            self._recipe,
            self._state,
            self._examples,
            self._catalog,
            num_steps=_STEPS_PER_ROUND,
            mesh=self._mesh,
        )
        jax.block_until_ready(self._state)


class _TorchEncoderBlock(nn.Module):
    def __init__(self, features: int, num_heads: int, hidden: int, window: int, rate: float):
        super().__init__()
        self.num_heads, self.rate, self.window = num_heads, rate, window
        self.attention_norm = nn.RMSNorm(features, eps=1e-6)
        self.query = nn.Linear(features, features, bias=False)
        self.key_value = nn.Linear(features, 2 * features, bias=False)
        self.out = nn.Linear(features, features, bias=False)
        self.distance_bias = nn.Parameter(torch.zeros(num_heads, window))
        self.feed_forward_norm = nn.RMSNorm(features, eps=1e-6)
        self.up = nn.Linear(features, hidden)
        self.down = nn.Linear(hidden, features)

    def forward(self, state: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        batch, length, features = state.shape
        heads = (batch, length, self.num_heads, features // self.num_heads)
        normed = self.attention_norm(state)
        query = self.query(normed).view(heads).transpose(1, 2)
        key, value = (part.reshape(heads).transpose(1, 2) for part in self.key_value(normed).chunk(2, dim=-1))
        place = torch.arange(length)
        bias = self.distance_bias[:, (place[:, None] - place[None, :]).clamp(0, self.window - 1)]
        mask = torch.where(visible[:, None], bias[None], -1e9)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        attended = self.out(mixed.transpose(1, 2).reshape(batch, length, features))
        state = state + functional.dropout(attended, self.rate, self.training)
        fed = self.down(functional.gelu(self.up(self.feed_forward_norm(state)), approximate="tanh"))
        return state + functional.dropout(fed, self.rate, self.training)


class _TorchDecoder(nn.Module):
    """`sid_jax.recommend.models.decoder.Decoder` and its loss, in idiomatic PyTorch."""

    def __init__(self, sizes: tuple[int, ...], model: ConfigDict):
        super().__init__()
        features = model.features
        self.rate = model.dropout
        self.levels = nn.ParameterList(nn.Parameter(torch.zeros(size, features)) for size in sizes)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in sizes)
        self.blocks = nn.ModuleList(
            _TorchEncoderBlock(features, model.num_heads, model.hidden, model.window, model.dropout)
            for _ in range(model.num_layers)
        )
        self.encoder_norm = nn.RMSNorm(features, eps=1e-6)
        self.level = nn.Parameter(torch.zeros(len(sizes), features))
        self.prefix = nn.Linear(features, features, bias=False)
        self.norm = nn.RMSNorm(features, eps=1e-6)
        self.up = nn.Linear(features, model.code_hidden)
        self.down = nn.Linear(model.code_hidden, features)
        self.out_norm = nn.RMSNorm(features, eps=1e-6)

    def forward(
        self, inputs: torch.Tensor, targets: torch.Tensor, segments: torch.Tensor, masks: list[torch.Tensor]
    ) -> torch.Tensor:
        place = torch.arange(segments.shape[1])
        visible = (segments[:, :, None] == segments[:, None, :]) & (place[:, None] >= place[None, :])
        state = functional.dropout(self._embed(inputs).sum(dim=-2), self.rate, self.training)
        for block in self.blocks:
            state = block(state, visible)
        chosen = self._embed(targets)
        chosen = chosen.cumsum(dim=-2) - chosen
        state = self.encoder_norm(state)[..., None, :] + self.prefix(chosen) + self.level
        spelled = self.down(functional.gelu(self.up(self.norm(state)), approximate="tanh"))
        state = self.out_norm(state + functional.dropout(spelled, self.rate, self.training))
        losses = []
        for level, (embedding, bias) in enumerate(zip(self.levels, self.biases, strict=True)):
            logits = functional.linear(state[..., level, :], embedding, bias).masked_fill(~masks[level], -1e9)
            losses.append(functional.cross_entropy(logits.flatten(0, 1), targets[..., level].flatten()))
        return torch.stack(losses).sum()

    def _embed(self, codes: torch.Tensor) -> torch.Tensor:
        return torch.stack(
            [functional.embedding(codes[..., level], each) for level, each in enumerate(self.levels)], -2
        )


class _TorchTrainer:
    def __init__(
        self,
        config: ConfigDict,
        trie: Trie,
        source: Any,
        examples: PackedRows,
        catalog: Catalog,
        *,
        compiled: bool = False,
    ):
        model = _TorchDecoder(trie.sizes, config.model)
        _copy_parameters(source, model)
        self._model: Any = torch.compile(model) if compiled else model
        kernels = [weight for module in model.modules() if isinstance(module, nn.Linear) for weight in [module.weight]]
        others = [each for each in model.parameters() if not any(each is kernel for kernel in kernels)]
        groups = [
            {"params": kernels, "weight_decay": config.train.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=config.train.learning_rate)
        self._clip_norm = config.train.gradient_clip_norm
        self._batch_size = config.train.batch_size
        self._semantic_ids = torch.from_numpy(np.array(catalog.semantic_ids)).long()
        self._prefixes = torch.from_numpy(np.array(catalog.prefixes)).long()
        self._masks = _prefix_masks(catalog)
        self._examples = [
            torch.from_numpy(np.array(each)).long() for each in (examples.inputs, examples.targets, examples.segments)
        ]
        self._next = 0

    def loss(self) -> float:
        self._model.eval()
        with torch.no_grad():
            return float(self._loss(slice(None)))

    def train(self) -> None:
        self._model.train()
        for first in range(0, _STEPS_PER_ROUND * self._batch_size, self._batch_size):
            self._optimizer.zero_grad()
            self._loss(slice(first, first + self._batch_size)).backward()
            nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
            self._optimizer.step()

    def _loss(self, rows: slice) -> torch.Tensor:
        inputs, targets, segments = (each[rows] for each in self._examples)
        masks = [mask[self._prefixes[targets, level]] for level, mask in enumerate(self._masks)]
        return self._model(self._semantic_ids[inputs], self._semantic_ids[targets], segments, masks)


def _prefix_masks(catalog: Catalog) -> list[torch.Tensor]:
    """Returns for each level the mask `[n, K]` bool of codes that may follow each prefix."""
    masks = []
    for level, size in enumerate(catalog.trie.sizes):
        mask = torch.zeros(len(catalog.trie.first_child[level]) - 1, size, dtype=torch.bool)
        mask[np.array(catalog.prefixes[:, level]), np.array(catalog.semantic_ids[:, level])] = True
        masks.append(mask)
    return masks


def _copy_parameters(source: Any, model: _TorchDecoder) -> None:
    def copy(target: nn.Parameter, values: Any) -> None:
        target.data = torch.from_numpy(np.array(values[...], np.float32))

    def copy_linear(target: nn.Linear, linear: Any) -> None:
        target.weight.data = torch.from_numpy(np.array(linear.kernel[...].T, np.float32))
        if linear.bias is not None:
            copy(target.bias, linear.bias)

    for target, values in zip(model.levels, source.embedding.levels, strict=True):
        copy(target, values)
    for block, ours in zip(model.blocks, source.encoder.blocks, strict=True):
        for name in ("query", "key_value", "out"):
            copy_linear(getattr(block, name), getattr(ours.attention, name))
        for name in ("up", "down"):
            copy_linear(getattr(block, name), getattr(ours.feed_forward, name))
    copy(model.level, source.level)
    copy_linear(model.prefix, source.prefix)
    for name in ("up", "down"):
        copy_linear(getattr(model, name), getattr(source.speller, name))


if __name__ == "__main__":
    main()
