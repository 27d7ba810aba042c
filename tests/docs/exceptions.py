"""Commands in the docs that are only checked, pages that other tests run, and settings that make runs short."""

from __future__ import annotations

from pathlib import Path

# Maps a part of a command to the reason why the command is checked, but not run. After a colon, the reason names the
# tests that cover the command.
NOT_RUN = {
    "python3 -m venv": "the tests already run in a virtual environment",
    ".venv": "the tests already run in a virtual environment",
    "pip install": "it needs a package registry; the name of the extra is checked",
    "python -m pytest": "it would start these tests again",
    "--coordinator_address=": "it needs two processes: tests/training/test_processes.py",
    "--engine=ray": "it needs a cluster: tests/bulk/test_run.py",
    "--compare": "it takes half an hour: tests/recommend/test_commands.py",
    "--config=joint": "it takes minutes: tests/recommend/joint",
    "runs/cold": "it takes a minute: tests/training/test_held_out.py and tests/recommend/cold/test_cold_run.py",
    "s3://": "it needs a bucket: tests/buckets",
    "benchmarks/": "it takes minutes, or needs other tools",
    "--config=configs/movielens.py:1m": "it downloads data from GroupLens",
    "--config=configs/amazon.py": "it downloads Amazon reviews",
    "--config.data.source=amazon": "it downloads Amazon reviews",
    "--config.data.text_encoder=all-MiniLM-L6-v2": "it downloads a model, and needs PyTorch",
    "sid-jax sweep": "it starts thirty training runs: tests/sweep",
    "--workdir=sweeps/": "it reads one of thirty training runs: tests/sweep",
}

# Pages whose blocks another test runs, word for word.
RUN_BY = {
    "pytorch.md": "tests/export/test_pytorch_page.py",
    "joint-own-model.md": "tests/examples/test_joint.py",
    "llm-tokens.md": "tests/tokens/test_docs.py",
}

# Settings for a short run, by preset. Each setting is added to a command, unless the command sets it.
_SMALL_MODEL = {
    "config.model.codebook_size": "16",
    "config.model.hidden_dimensions": "(16,)",
    "config.model.latent_dimension": "8",
    "config.train.batch_size": "64",
    "config.train.num_epochs": "2",
    "config.train.warmup_epochs": "0.5",
    "config.train.eval_every_epochs": "2.0",
    "config.train.revive_every_epochs": "0.0",
}
SMALL = {
    "embeddings": _SMALL_MODEL,
    "ml100k": {**_SMALL_MODEL, "config.model.codebook_size": "32", "config.train.batch_size": "512"},
    "recommend": {
        "config.quantizer.model.hidden_dimensions": "(16,)",
        "config.quantizer.model.latent_dimension": "8",
        "config.quantizer.model.codebook_size": "32",
        "config.quantizer.train.batch_size": "512",
        "config.quantizer.train.num_epochs": "2",
        "config.quantizer.train.warmup_epochs": "0.5",
        "config.model.features": "16",
        "config.model.num_layers": "1",
        "config.model.num_heads": "2",
        "config.model.hidden": "16",
        "config.model.code_hidden": "16",
        "config.model.members": "1",
        "config.model.blend": "('popularity',)",
        "config.train.num_epochs": "0.1",
        "config.train.warmup_epochs": "0.02",
        "config.eval.num_beams": "20",
        "config.eval.bootstrap_samples": "20",
        "config.eval.baselines": "('popularity',)",
    },
}


def why_not_run(words: list[str]) -> str | None:
    """Returns the reason why a command is only checked, or None if it is run."""
    command = " ".join(words)
    return next((reason for part, reason in NOT_RUN.items() if part in command), None)


def small(words: list[str]) -> list[str]:
    """Returns the command with settings for a short run."""
    taken = {word.removeprefix("--").partition("=")[0] for word in words}
    config = next((word for word in words if word.startswith("--config=")), "")
    added = SMALL.get(Path(config.removeprefix("--config=").partition(":")[0]).stem, {})
    return [*words, *(f"--{name}={value}" for name, value in added.items() if name not in taken)]
