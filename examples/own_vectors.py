"""Your own vectors in memory: train Semantic IDs, look items up, measure quality, save, and load without JAX.

python examples/own_vectors.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import sid_jax
from sid_jax import lite

NUM_ITEMS, NUM_KINDS, NUM_FEATURES = 1000, 40, 32


def make_items() -> tuple[np.ndarray, list[str], list[str]]:
    """Returns vectors [N, D], item ids and titles of synthetic items of several kinds; replace them with your own."""
    random = np.random.default_rng(0)
    kind = random.integers(0, NUM_KINDS, NUM_ITEMS)
    centers = random.normal(size=(NUM_KINDS, NUM_FEATURES))
    vectors = centers[kind] + 0.4 * random.normal(size=(NUM_ITEMS, NUM_FEATURES))
    ids = [f"sku-{number}" for number in range(NUM_ITEMS)]
    return vectors.astype(np.float32), ids, [f"item of kind {each}" for each in kind]


def main(folder: str = "exports/own-vectors", **settings: Any) -> None:
    """Trains with `settings`, and writes the export to `folder`."""
    if Path(folder).exists():
        raise SystemExit(f"{folder} exists; remove it first")
    vectors, ids, titles = make_items()
    tokenizer = sid_jax.SemanticIdTokenizer(**{"num_levels": 3, "codebook_size": 64, "num_epochs": 20.0, **settings})
    tokenizer.fit(vectors, ids, columns={"title": titles})

    semantic_id = tokenizer.table.semantic_id("sku-42")
    print(f"sku-42 has the Semantic ID {semantic_id}")
    near, shared = tokenizer.table.neighbors("sku-42", 5)
    for item, count in zip(near, shared, strict=True):
        print(f"  {item} shares the first {count} codes of sku-42: {tokenizer.table.semantic_id(item)}")

    metrics = tokenizer.metrics
    print(f"R² {metrics['r2']:.3f}, distinct code tuples {metrics['distinct_rate']:.3f}, usage {metrics['usage']}")

    path = tokenizer.save(folder, report=True)
    print(f"open {path}/report.html for the quality in words and plots")
    # A service can look up and encode items with NumPy alone.
    served = lite.load(path)
    assert served.table.semantic_id("sku-42") == semantic_id
    assert (served.encode(vectors[:10]) == tokenizer.encode(vectors[:10])).all()


if __name__ == "__main__":
    main()
