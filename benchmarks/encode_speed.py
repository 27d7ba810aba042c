"""Speed of residual quantization, compared with faiss: items/s, FLOP/s relative to a matrix product, and memory.

python benchmarks/encode_speed.py --beam=1 --json=encode.json

The vectors have 768 features and are random around cluster centers. There are 3 codebooks of 256 codewords and no
encoder. sid_jax and faiss use the same codebooks, which faiss trained on the first quarter of the vectors. faiss is
timed with and without its look-up tables (`use_beam_LUT`). This script needs the `bench` extra.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from contest import Contestant, Round, contest, matmul_rate, report

_FEATURES, _LEVELS, _BITS = 768, 3, 8
_ITEMS, _TRAINED = 65_536, 16_384


def main() -> None:
    """Prints one row per implementation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beam", type=int, default=1, help="number of code tuples kept at each level; 1 is greedy")
    parser.add_argument("--batch", type=int, default=2048, help="number of vectors per call of sid_jax")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="number of threads of faiss")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    beam = arguments.beam
    # Floating-point operations per vector: its inner products with all codewords. Neither greedy assignment nor beam
    # search needs other matrix products per vector.
    operations = 2.0 * _FEATURES * 2**_BITS * _LEVELS
    contestants = {
        "sid_jax": Contestant(prepare_ours, (beam, arguments.batch), operations),
        "faiss": Contestant(prepare_faiss, (beam, arguments.threads, False)),
        "faiss, look-up tables": Contestant(prepare_faiss, (beam, arguments.threads, True)),
        "product": matmul_rate(arguments.batch, _FEATURES, 2**_BITS),
    }
    results = contest(contestants, arguments.rounds)
    matmul = results.pop("product")
    report(f"{_FEATURES} features, beam {beam}", results, matmul, arguments.json, vars(arguments))


def prepare_ours(beam: int, batch: int) -> Round:
    """Returns a function that encodes all vectors with sid_jax once, and copies the codes to the host."""
    import jax

    from sid_jax.quantize.beam import beam_codes
    from sid_jax.quantize.nearest import assign_codes

    vectors, codebooks = _vectors(), [np.asarray(each) for each in _codebooks()]
    greedy = jax.jit(assign_codes)

    def run() -> int:
        codes = []
        for first in range(0, _ITEMS, batch):
            given = vectors[first : first + batch]
            codes.append(greedy(given, codebooks) if beam == 1 else beam_codes(given, codebooks, beam)[0][:, 0])
        np.concatenate([np.asarray(each) for each in codes])
        return _ITEMS

    return run


def prepare_faiss(beam: int, threads: int, tables: bool) -> Round:
    """Returns a function that encodes all vectors with faiss's ResidualQuantizer once."""
    import faiss

    faiss.omp_set_num_threads(threads)
    quantizer, vectors = _trained(), _vectors()
    quantizer.max_beam_size = beam
    quantizer.use_beam_LUT = int(tables)

    def run() -> int:
        quantizer.compute_codes(vectors)
        return _ITEMS

    return run


def _trained():
    import faiss

    quantizer = faiss.ResidualQuantizer(_FEATURES, _LEVELS, _BITS)
    quantizer.max_beam_size = 1
    quantizer.train(_vectors()[:_TRAINED])
    return quantizer


def _codebooks() -> np.ndarray:
    import faiss

    quantizer = _trained()
    return faiss.vector_to_array(quantizer.codebooks).reshape(_LEVELS, 2**_BITS, _FEATURES)


def _vectors() -> np.ndarray:
    """Returns vectors `[N, D]` float32 of length 1, in clusters around 2,048 centers."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(2048, _FEATURES)).astype(np.float32)
    vectors = centers[random.integers(0, len(centers), _ITEMS)]
    vectors += 0.5 * random.normal(size=vectors.shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
