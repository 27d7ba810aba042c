"""Measures the latency of `recommend_batch` for 1, 64 and 1,024 users in one call, with random parameters.

A generative decoder runs a beam search. A scorer is measured twice: as it serves by default, and with exact scores of
all items. By default, if the catalog has 100,000 items or more, a scorer on a CPU computes exact scores only for a
shortlist of items.

python benchmarks/recommender_latency.py --items=100000 --kind=scorer
"""

from __future__ import annotations

import argparse
import itertools
import resource
import time

import numpy as np
from random_recommender import random_recommender, random_table

from sid_jax.recommender import Recommender

# Four levels of 256 codes, as `model.num_levels=auto` chooses for more than 40,000 items; three for fewer.
_CODES, _FEW_ITEMS = 256, 40_000
# Minimum and maximum number of timed calls for each row of the table.
_FEWEST_CALLS, _MOST_CALLS = 20, 500
# Minimum and maximum number of items in a history.
_HISTORY = (1, 20)
# Batch sizes, in users. For each of them, there are two compiled programs: for short and for long histories.
_BATCHES = (1, 16, 256)


def main() -> None:
    """Prints a table with p50 and p99 of the calls, and the number of users per second."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=12_101)
    parser.add_argument("--kind", choices=("scorer", "decoder"), default="scorer")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 64, 1024], help="numbers of users in one call")
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="time limit of each row of the table, after its first 20 calls"
    )
    parser.add_argument("--k", type=int, default=10)
    arguments = parser.parse_args()
    sizes = (_CODES,) * (3 if arguments.items <= _FEW_ITEMS else 4)
    recommender = random_recommender(arguments.kind, random_table(arguments.items, sizes), sizes)
    ways = {"beam search": False} if arguments.kind == "decoder" else {"default": False, "exact scores": True}
    print("| items | lists by | users in a call | p50, ms | p99, ms | users per second | calls |\n" + "|---" * 7 + "|")
    for name, exact in ways.items():
        for users in arguments.users:
            times = 1e3 * _times(recommender, arguments, users, exact=exact)
            p50, p99 = np.percentile(times, [50, 99])
            rate = 1e3 * users * len(times) / times.sum()
            row = (f"{arguments.items:,}", name, f"{users:,}", f"{p50:,.1f}", f"{p99:,.1f}", f"{rate:,.0f}", len(times))
            print("| " + " | ".join(map(str, row)) + " |", flush=True)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB of memory at most")


def _times(recommender: Recommender, arguments: argparse.Namespace, users: int, *, exact: bool) -> np.ndarray:
    """Returns the seconds of each call; each call gets different histories."""
    random = np.random.default_rng(2)

    def histories(number: int, shortest: int, longest: int) -> list[list[int]]:
        lengths = random.integers(shortest, longest, size=number, endpoint=True)
        return [random.integers(arguments.items, size=length).tolist() for length in lengths]

    # These calls compile all programs before the measurement.
    for number, length in itertools.product(_BATCHES, _HISTORY):
        recommender.recommend_batch(histories(number, length, length), arguments.k, exact=exact)
    times: list[float] = []
    end = time.perf_counter() + arguments.seconds
    while len(times) < _FEWEST_CALLS or (time.perf_counter() < end and len(times) < _MOST_CALLS):
        asked = histories(users, *_HISTORY)
        began = time.perf_counter()
        recommender.recommend_batch(asked, arguments.k, exact=exact)
        times.append(time.perf_counter() - began)
    return np.array(times)


if __name__ == "__main__":
    main()
