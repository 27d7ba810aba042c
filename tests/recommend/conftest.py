"""Small synthetic data for recommenders: in each history, item i + 1 follows item i, modulo the number of items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sid_jax.presets import set_mlp
from sid_jax.recommend.config import default_config

NUM_ITEMS = 40


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with `sequences.txt`, the ID table `ids.npy`, and `shuffled.npy`, the same IDs in random order."""
    random = np.random.default_rng(0)
    lines = []
    for user in range(120):
        start, length = random.integers(NUM_ITEMS), random.integers(6, 12)
        items = (start + np.arange(length)) % NUM_ITEMS
        lines.append(" ".join(map(str, [user, *items.tolist()])))
    (tmp_path / "sequences.txt").write_text("\n".join(lines) + "\n")
    ids = np.stack([np.arange(NUM_ITEMS) // 8, np.arange(NUM_ITEMS) % 8], axis=1)
    np.save(tmp_path / "ids.npy", ids)
    np.save(tmp_path / "shuffled.npy", random.permutation(ids))
    return tmp_path


@pytest.fixture
def settings(world: Path) -> dict[str, object]:
    """The settings of a small run, by the name of the flag without `--config.`."""
    return {
        "ids": world / "ids.npy",
        "data.path": world / "sequences.txt",
        "model.features": 32,
        "model.num_layers": 1,
        "model.num_heads": 2,
        "model.hidden": 64,
        "model.code_hidden": 64,
        "model.window": 12,
        "model.dropout": 0.0,
        "train.row_length": 16,
        "train.batch_size": 8,
        "train.num_epochs": 12.0,
        "train.log_every_steps": 5,
        "train.learning_rate": 1e-2,
        "eval.num_beams": 20,
        "eval.batch_size": 64,
        "eval.bootstrap_samples": 100,
    }


@pytest.fixture
def config(settings: dict[str, object]):
    changed = default_config()
    set_mlp(changed.quantizer)
    for name, value in settings.items():
        section, _, field = name.rpartition(".")
        (changed[section] if section else changed)[field] = str(value) if isinstance(value, Path) else value
    return changed
