"""Measures how long a recommender with random parameters takes from `with_catalog` to the first answer.

python benchmarks/catalog_swap.py --items=12101 --kind=scorer
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time

import numpy as np
from flax import nnx

from sid_jax.ids.table import IdTable
from sid_jax.recommend.artifact import TrainedRecommender, named_params
from sid_jax.recommend.config import default_config
from sid_jax.recommend.data.blend import Blend
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.models import build_model
from sid_jax.recommender import Recommender

_SIZES, _CONTENT_FEATURES, _NIGHTS = (256, 256, 256), 384, 3


def main() -> None:
    """Prints the time of the first answer, of later answers, and of each catalog swap with the answer after it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=12_101)
    parser.add_argument("--kind", choices=("scorer", "decoder"), default="scorer")
    arguments = parser.parse_args()
    # A night is one nightly update of the catalog. Each adds 1/60 of the initial number of items.
    number, new = arguments.items, arguments.items // 60
    drawn = np.random.default_rng(0).beta(1, 2, size=(number + _NIGHTS * new, 3))
    codes = (drawn * _SIZES).astype(np.int32)
    recommender = _made(arguments.kind, IdTable(np.arange(number), codes[:number], shared=True))
    history = list(range(0, 15 * 7, 7))

    wall, cpu = _timed(lambda: recommender.recommend(history, 10))
    print(f"first answer: {wall:.2f} s, {cpu:.2f} CPU s")
    later = [_timed(lambda: recommender.recommend(history, 10))[0] for _ in range(50)]
    print(f"later answers, p50: {1e3 * statistics.median(later):.2f} ms")
    for night in range(1, 1 + _NIGHTS):
        rows = number + night * new
        newer = IdTable(np.arange(rows), codes[:rows], shared=True)
        wall, cpu = _timed(lambda newer=newer: recommender.with_catalog(newer).recommend(history, 10))
        print(f"night {night}, {rows:,} items: {wall:.2f} s, {cpu:.2f} CPU s")


def _timed(call) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def _made(kind: str, table: IdTable) -> Recommender:
    """Returns a recommender with random parameters for the items of an ID table; a scorer's blend has all terms."""
    random, rows = np.random.default_rng(1), len(table)
    config = default_config()
    config.model.kind = kind
    candidates = Candidates.of(table, random.integers(9, size=rows), np.zeros(rows, bool), _SIZES)
    if kind == "scorer":
        config.model.features = 64
        followers = random.integers(rows, size=(rows, 20)).astype(np.int32)
        strengths, projection = random.random((rows, 20)).astype(np.float32), np.eye(_CONTENT_FEATURES, 64, dtype="f")
        blend = Blend(np.array([1, 0.5, 0.5, 0.1], np.float32), followers, strengths, projection, True)
        content = random.normal(size=(rows, _CONTENT_FEATURES)).astype(np.float32)
        candidates = dataclasses.replace(candidates, content=content, blend=blend)
    params = named_params(nnx.split(build_model(config, candidates))[1])
    return Recommender.from_trained(TrainedRecommender(config, candidates, params, 1))


if __name__ == "__main__":
    main()
