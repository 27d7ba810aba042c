"""Compares an export with greedy residual k-means (faiss ResidualQuantizer) on the same vectors, with the same L and K.

python benchmarks/yardstick.py exports/ml100k --workdir=runs/ml100k    (needs faiss-cpu, which is in the [test] extra)
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import faiss
import numpy as np

import sid_jax
from sid_jax.config import default_config
from sid_jax.data.load import load_vectors
from sid_jax.training.workdir import read_run


def main() -> None:
    """Prints one line for the export and one for faiss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--workdir", type=Path, required=True, help="the run that was exported")
    arguments = parser.parse_args()
    export = sid_jax.load(arguments.export)
    config = read_run(arguments.workdir, default_config())[0]
    vectors = load_vectors(config.data).vectors
    sizes = export.metrics["codebook_size"]
    bits = [int(math.log2(size)) for size in sizes]
    if any(2**bit != size for bit, size in zip(bits, sizes, strict=True)):
        parser.error(f"faiss needs powers of 2 for the codebook sizes, not {sizes}")

    codes = export.table.codes
    inputs, reconstructions = map(np.array, export.model.compared(vectors, codes))
    report("this export", inputs, reconstructions, codes)
    sizes_in_bits = faiss.UInt64Vector()
    for bit in bits:
        sizes_in_bits.push_back(bit)
    quantizer = faiss.ResidualQuantizer(inputs.shape[1], sizes_in_bits)
    quantizer.max_beam_size = 1
    quantizer.train(inputs)
    packed = quantizer.compute_codes(inputs)
    report("faiss ResidualQuantizer, greedy", inputs, quantizer.decode(packed), packed)


def report(name: str, inputs: np.ndarray, reconstructions: np.ndarray, codes: np.ndarray) -> None:
    """Prints R^2 over all items and features, and the distinct rate."""
    error = np.square(inputs - reconstructions).sum(dtype=np.float64)
    spread = np.square(inputs - inputs.mean(0)).sum(dtype=np.float64)
    print(f"{name:32} R^2 {1 - error / spread:.4f}  distinct {len(np.unique(codes, axis=0)) / len(codes):.4f}")


if __name__ == "__main__":
    main()
