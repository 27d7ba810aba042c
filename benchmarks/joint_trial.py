"""Trains a JointQuantizer inside the language model of examples/joint, and prints metrics of each run.

python benchmarks/joint_trial.py

There are four joint runs: from an export or from scratch, each with or without the anchor (the quantizer's own losses).
Each joint run takes a minute or two on a CPU core. For comparison, the language model is also trained on the fixed IDs
of the export. The data are the 3,000 synthetic items of examples/joint. IDs have 3 levels of 64 codes.
Each run has 300 steps. The script prints the codebook usage of each level, the distinct rate, R² and recall.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import sid_jax

sys.path.insert(0, str(Path(__file__).parent.parent / "examples" / "joint"))


def main() -> None:
    """Prints a line for each run."""
    from language_model import recall, train_jointly, train_on_fixed_ids
    from made import make_data

    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0, help="seed of the data, the export and the joint training")
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate of encoder, codebooks and decoder")
    parser.add_argument("--start", default="both", choices=("both", "export", "scratch"))
    given = parser.parse_args()
    rates = {f"{part}_rate": given.rate for part in ("encoder", "codebook", "decoder")}
    vectors, item_ids, sequences = make_data(given.items, 6400, seed=given.seed)
    learned, tested = sequences[:-500], sequences[-500:]
    batches = learned[np.random.default_rng(given.seed).integers(0, len(learned), (given.steps, 64))]
    sizes = {"num_levels": 3, "codebook_size": given.codes, "seed": given.seed}
    export = sid_jax.SemanticIdTokenizer(**sizes).fit(vectors, item_ids, verbose=False)

    def show(name, model, tokenizer):
        figures = tokenizer.metrics
        used = " / ".join(f"{share:.2f}" for share in figures["usage"])
        print(
            f"{name:<26} in use {used}  distinct {figures['distinct_rate']:.3f}  R² {figures['r2']:6.3f}  "
            f"recall@10 {recall(model, tokenizer, tested):.3f}",
            flush=True,
        )

    show("fixed IDs of the export", train_on_fixed_ids(export, vectors, batches), export)
    starts = {"export": (export, {"seed": given.seed}), "scratch": (vectors, sizes)}
    for name, (start, settings) in starts.items():
        for weight in (1.0, 0.0) if given.start in (name, "both") else ():
            trained = train_jointly(start, vectors, item_ids, batches, anchor_weight=weight, **settings, **rates)
            show(f"from {name}, anchor {weight:g}", *trained)


if __name__ == "__main__":
    main()
