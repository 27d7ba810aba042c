"""Training speed of the RQ-VAE and of its PyTorch equivalent: items/s, FLOP/s relative to a matrix product, and memory.

python benchmarks/train_speed.py --batch=1024 --method=ste --json=train.json

The encoder is an MLP with the widths 768-512-256-128-32. There are 3 codebooks of 256 codewords, and the optimizer is
AdamW. The PyTorch program is a plain training loop over vectors in memory, and never reads the loss. It is timed twice:
run eagerly, and with torch.compile, which needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from contest import Contestant, Round, contest, matmul_rate, report

_ITEMS, _FEATURES, _LATENT, _LEVELS, _CODES = 32_768, 768, 32, 3, 256
_HIDDEN = (512, 256, 128)
# Approximate number of items per round: about a second of work.
_ITEMS_A_ROUND = 65_536


def main() -> None:
    """Prints one row per implementation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--method", choices=["ste", "gumbel_softmax"], default="ste")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="number of PyTorch's threads")
    parser.add_argument("--no-compile", action="store_true", help="omit torch.compile")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    shape = (arguments.batch, arguments.method)
    contestants = {
        "sid_jax": Contestant(prepare_ours, (*shape, "float32"), _operations()),
        "sid_jax, from a file": Contestant(prepare_ours, (*shape, "float32", True), _operations()),
        "sid_jax, bfloat16": Contestant(prepare_ours, (*shape, "bfloat16"), _operations()),
        "PyTorch": Contestant(prepare_torch, (*shape, arguments.threads, False), _operations()),
    }
    if not arguments.no_compile:
        contestants["torch.compile"] = Contestant(prepare_torch, (*shape, arguments.threads, True), _operations())
    contestants["product"] = matmul_rate(arguments.batch, 768, 512)
    results = contest(contestants, arguments.rounds)
    matmul = results.pop("product")
    report(f"{arguments.method}, batch {arguments.batch}", results, matmul, arguments.json, vars(arguments))


def _operations() -> float:
    """Returns the number of floating-point operations per item in the matrix products, forward and backward."""
    widths = (_FEATURES, *_HIDDEN, _LATENT)
    network = 2 * sum(2 * fan_in * fan_out for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True))
    first = 2 * widths[0] * widths[1]
    # Three products per level: scores of all codes, codeword from a one-hot vector, and gradient of the codebook.
    quantizer = 3 * 2 * _LEVELS * _CODES * _LATENT
    return 3 * network - first + quantizer


def prepare_ours(batch: int, method: str, precision: str, from_file: bool = False) -> Round:
    """Returns a function that runs sid_jax's training steps, with vectors on the device or in a memory-mapped file."""
    import tempfile

    import jax
    import numpy as np

    from sid_jax.config import default_config
    from sid_jax.presets import set_mlp
    from sid_jax.training.corpus import ResidentCorpus, StreamedCorpus, most_steps_a_call
    from sid_jax.training.recipe import Recipe
    from sid_jax.training.schedules import Durations
    from sid_jax.training.sharding import all_devices, on_every_device
    from sid_jax.training.state import abstract_model, begin, make_state

    config = default_config()
    set_mlp(config)
    config.model.num_levels, config.model.codebook_size = _LEVELS, _CODES
    config.model.hidden_dimensions = _HIDDEN
    config.model.quantization_method = method
    config.train.batch_size = batch
    config.train.precision = precision
    config.train.num_epochs = 10_000
    vectors = _vectors()
    mesh = all_devices()
    recipe = Recipe.of(config, Durations.of(config.train, _ITEMS), abstract_model(config, _FEATURES))
    held = {"state": on_every_device(make_state(begin(config, vectors), recipe.init_optimizer), mesh), "step": 0}
    num_steps = _ITEMS_A_ROUND // batch
    if from_file:
        folder = tempfile.mkdtemp()
        np.save(f"{folder}/vectors.npy", vectors)
        mapped = np.load(f"{folder}/vectors.npy", mmap_mode="r")
        config.train.resident_bytes = 0
        a_call = min(num_steps, most_steps_a_call(config.train, mapped.shape) or num_steps)
        corpus = StreamedCorpus(mapped, None, mesh, seed=0, batch_size=batch)
    else:
        a_call, corpus = num_steps, ResidentCorpus(vectors, None, mesh)

    def run() -> int:
        for _ in range(num_steps // a_call):
            held["state"], metrics = corpus.train_steps(recipe, held["state"], held["step"], a_call)
            held["step"] += a_call
        jax.block_until_ready((held["state"], metrics))
        assert np.isfinite(metrics["loss"]).all()
        return num_steps // a_call * a_call * batch

    return run


def prepare_torch(batch: int, method: str, threads: int, compiled: bool) -> Round:
    """Returns a function that runs PyTorch's training steps, with vectors in memory."""
    import itertools

    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.manual_seed(0)

    class RQVAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = (_FEATURES, *_HIDDEN, _LATENT)
            self.encoder, self.decoder = self._network(widths), self._network(widths[::-1])
            self.codebooks = nn.ParameterList(nn.Parameter(torch.randn(_CODES, _LATENT)) for _ in range(_LEVELS))

        @staticmethod
        def _network(widths: tuple[int, ...]) -> nn.Sequential:
            layers: list[nn.Module] = []
            for fan_in, fan_out in itertools.pairwise(widths):
                layers += [nn.Linear(fan_in, fan_out), nn.SiLU()]
            return nn.Sequential(*layers[:-1])

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            latents = self.encoder(inputs)
            residual, total, loss = latents, torch.zeros_like(latents), torch.zeros(())
            for codebook in self.codebooks:
                scores = 2 * residual @ codebook.T - codebook.square().sum(1)
                if method == "ste":
                    codeword = functional.embedding(scores.argmax(1), codebook)
                else:
                    codeword = functional.gumbel_softmax(scores, tau=1.0, hard=True) @ codebook
                total = total + codeword
                loss = loss + (residual.detach() - codeword).square().sum(1).mean()
                loss = loss + 0.25 * (residual - codeword.detach()).square().sum(1).mean()
                residual = residual - codeword.detach() if method == "ste" else residual - codeword
            quantized = latents + (total - latents).detach() if method == "ste" else total
            return loss + (self.decoder(quantized) - inputs).square().sum(1).mean()

    model = RQVAE()
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    vectors = torch.from_numpy(_vectors())
    num_steps = _ITEMS_A_ROUND // batch

    def run() -> int:
        order = torch.randperm(_ITEMS)
        for step in range(num_steps):
            rows = order[(step * batch) % _ITEMS :][:batch]
            optimizer.zero_grad(set_to_none=True)
            forward(vectors[rows]).backward()
            optimizer.step()
        return num_steps * batch

    return run


def _vectors():
    import numpy as np

    vectors = np.random.default_rng(0).normal(size=(_ITEMS, _FEATURES)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
