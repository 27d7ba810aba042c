"""Measures how long a recommender with random parameters takes from `with_catalog` to the first answer.

python benchmarks/catalog_swap.py --items=12101 --kind=scorer
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from random_recommender import random_recommender, random_table

from sid_jax.ids.table import IdTable

_SIZES, _NIGHTS = (256, 256, 256), 3


def main() -> None:
    """Prints the times of the first answer, of later answers, and of each swap including the first answer after it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=12_101)
    parser.add_argument("--kind", choices=("scorer", "decoder"), default="scorer")
    arguments = parser.parse_args()
    # Each night is one append, which adds 1/60 of the initial number of items.
    number, new = arguments.items, arguments.items // 60
    codes = random_table(number + _NIGHTS * new, _SIZES).semantic_ids
    recommender = random_recommender(arguments.kind, _first(number, codes), _SIZES)
    history = list(range(0, 15 * 7, 7))

    wall, cpu = _timed(lambda: recommender.recommend(history, 10))
    print(f"first answer: {wall:.2f} s, {cpu:.2f} CPU s")
    later = [_timed(lambda: recommender.recommend(history, 10))[0] for _ in range(50)]
    print(f"later answers, p50: {1e3 * statistics.median(later):.2f} ms")
    for night in range(1, 1 + _NIGHTS):
        newer = _first(number + night * new, codes)
        wall, cpu = _timed(lambda newer=newer: recommender.with_catalog(newer).recommend(history, 10))
        print(f"night {night}, {len(newer):,} items: {wall:.2f} s, {cpu:.2f} CPU s")


def _first(num_items: int, codes: np.ndarray) -> IdTable:
    return IdTable(np.arange(num_items), codes[:num_items], shared=True)


def _timed(call) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
