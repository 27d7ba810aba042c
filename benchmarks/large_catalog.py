"""Measures the scorer on a large synthetic catalog: memory, training time, and users served per second.

Each user gets two lists of ten items: one from a shortlist, and one from the scores of all items. The items of a
shortlist are chosen by approximate scores and by transitions, and exact scores are computed only for these items. A
shortlist is used only on a CPU, and only for at least 100,000 items. The script also prints the share of the items that
are in both lists.

python benchmarks/large_catalog.py --items 300000 --interactions 3000000
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

import sid_jax
from sid_jax.ids.table import IdTable
from sid_jax.messages import LOGGER


def main() -> None:
    """Prints the memory after each stage, the time of training (including the blend), and users per second."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=300_000)
    parser.add_argument("--interactions", type=int, default=3_000_000)
    parser.add_argument("--features", type=int, default=384, help="number of features of the content vectors")
    parser.add_argument("--epochs", type=float, default=0.5)
    parser.add_argument("--users", type=int, default=4096, help="number of users that are served, in batches")
    parser.add_argument("--preset", default="beauty")
    arguments = parser.parse_args()
    LOGGER.setLevel("WARNING")

    table, content, histories = _made_world(arguments.items, arguments.interactions, arguments.features)
    _print_memory("data made")
    settings = {"train.num_epochs": arguments.epochs, "eval.validation_users": 1000}
    recommender = sid_jax.Recommender(table, arguments.preset, **settings)
    began = time.perf_counter()
    recommender.fit(histories, vectors=content, verbose=False)
    _print_memory(f"trained and blended in {time.perf_counter() - began:.0f} s")
    asked = [each[:-1] for each in histories[: arguments.users]]
    lists = {}
    for name, exact in (("shortlist", False), ("all items", True)):
        recommender.recommend_batch(asked, k=10, exact=exact)  # The first call compiles.
        began = time.perf_counter()
        found = recommender.recommend_batch(asked, k=10, exact=exact)
        rate = len(asked) / (time.perf_counter() - began)
        print(f"{name}: {rate:,.0f} users per second, 10 of {arguments.items:,} items each")
        lists[name] = [{each.item_id for each in one} for one in found]
        _print_memory("served")
    shared = [len(one & other) for one, other in zip(*lists.values(), strict=True)]
    print(f"share of the exact top ten that the shortlist also finds: {np.mean(shared) / 10:.5f}")


def _made_world(num_items: int, num_interactions: int, features: int) -> tuple[IdTable, np.ndarray, list[list[int]]]:
    """Generates IDs, content vectors and histories, in which each user prefers the popular items of one cluster."""
    random = np.random.default_rng(0)
    num_clusters = 1024
    cluster = np.sort(random.integers(num_clusters, size=num_items))
    centers = random.normal(size=(num_clusters, features)).astype(np.float32)
    content = centers[cluster] + random.normal(size=(num_items, features)).astype(np.float32)
    place = np.arange(num_items) - np.searchsorted(cluster, cluster)
    ids = np.stack([cluster // 4, cluster % 4 * 64 + place // 256, place % 256], axis=1).astype(np.int32)
    first, size = np.searchsorted(cluster, np.arange(num_clusters)), np.bincount(cluster, minlength=num_clusters)
    lengths = 5 + random.geometric(0.2, size=num_interactions // 10)
    home = np.repeat(random.integers(num_clusters, size=len(lengths)), lengths)
    # One interaction in five is with an item of a random cluster.
    taken = np.where(random.random(len(home)) < 0.2, random.integers(num_clusters, size=len(home)), home)
    items = first[taken] + (random.random(len(home)) ** 2 * size[taken]).astype(np.int64)
    histories = [each.tolist() for each in np.split(items, np.cumsum(lengths)[:-1])]
    return IdTable(np.arange(num_items), ids, shared=True), content, histories


def _print_memory(part: str) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    now = pages * resource.getpagesize() / 2**30
    print(f"{part}: {now:.2f} GiB resident, {peak:.2f} GiB at most", flush=True)


if __name__ == "__main__":
    main()
