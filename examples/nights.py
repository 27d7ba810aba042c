"""Nightly updates of a catalog: one training run, then a new version every night. No published Semantic ID changes.

python examples/nights.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import sid_jax

NUM_FIRST, NUM_NEW, NUM_FEATURES = 1000, 40, 32


def make_vectors(num_items: int) -> np.ndarray:
    """Returns vectors [N, D] of synthetic items of 20 kinds."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(20, NUM_FEATURES))
    return (centers[np.arange(num_items) % 20] + 0.5 * random.normal(size=(num_items, NUM_FEATURES))).astype(np.float32)


def main(folder: str = "exports/nights", nights: int = 3, **settings: Any) -> None:
    """Trains with `settings` on the first day; every night, appends new items and removes old items."""
    if Path(folder).exists():
        raise SystemExit(f"{folder} exists; remove it first")
    vectors = make_vectors(NUM_FIRST + nights * NUM_NEW)
    tokenizer = sid_jax.SemanticIdTokenizer(**{"num_levels": 3, "codebook_size": 64, "num_epochs": 20.0, **settings})
    tokenizer.fit(vectors[:NUM_FIRST])
    tokenizer.save(f"{folder}/1")
    publish(Path(folder), "1")

    for night in range(1, nights + 1):
        start = NUM_FIRST + (night - 1) * NUM_NEW
        new = np.arange(start, start + NUM_NEW)
        catalog = sid_jax.load(f"{folder}/latest")
        before = {item: catalog.table.semantic_id(item) for item in catalog.table}
        gone = [10 * night, 10 * night + 1]

        catalog.append(new, vectors[new], remove=gone)
        assert all(catalog.table.semantic_id(item) == before[item] for item in before if item not in gone)
        version = str(night + 1)
        catalog.save(f"{folder}/{version}")
        publish(Path(folder), version)

        drift = catalog.export.manifest["drift"]
        due = drift["verdict"]["retraining_is_due"]
        print(
            f"night {night}: {len(new)} new items with R² {drift['new_items']['r2']:.3f}, {len(gone)} removed, "
            f"{len(catalog.table)} in all; retraining is {'due' if due else 'not due'}"
        )


def publish(folder: Path, version: str) -> None:
    """Moves the link `latest` atomically, so a reader sees the old version or the new one."""
    (folder / "next").symlink_to(version)
    (folder / "next").rename(folder / "latest")


if __name__ == "__main__":
    main()
