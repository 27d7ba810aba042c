"""Speed of beam search constrained to existing IDs, compared with the same search over all codes.

python benchmarks/constrained_beam.py --items=12000 --beams=50
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time

import jax
import numpy as np

from sid_jax.ids.table import IdTable
from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.config import default_config
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.data.id_makers import make_ids
from sid_jax.recommend.models import build_model
from sid_jax.recommend.models.beam_search import beam_search
from sid_jax.recommend.models.catalog import catalog_of


def main() -> None:
    """Runs both searches once per round; prints the median time of each search, and the ratio of the two medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=12_000)
    parser.add_argument("--beams", type=int, default=50)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()

    config = default_config()
    ids = make_ids("random", np.arange(arguments.items), None, num_levels=3, num_codes=256, seed=0).semantic_ids[:, :3]
    nothing = np.zeros(len(ids), int)
    candidates = Candidates.of(
        IdTable(np.arange(len(ids)), ids, shared=True), nothing, nothing.astype(bool), (256,) * 3
    )
    model, catalog = build_model(config, candidates), catalog_of(candidates, candidates.trie)
    random = np.random.default_rng(0)
    batch = HistoryBatch(
        random.integers(0, arguments.items, (arguments.batch, 12)).astype(np.int32),
        np.full(arguments.batch, 12, np.int32),
        np.zeros(arguments.batch, np.int32),
    )
    searches = {
        name: jax.jit(functools.partial(beam_search, num_beams=arguments.beams, constrained=constrained))
        for name, constrained in (("constrained", True), ("unconstrained", False))
    }
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(arguments.rounds + 1):
        for name, search in searches.items():
            began = time.perf_counter()
            jax.block_until_ready(search(model, batch, catalog))
            seconds[name].append(time.perf_counter() - began)
    # The first round is excluded, since it includes the compilation.
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<14} {median * 1e3:8.1f} ms for {arguments.batch} users")
    print(f"ratio          {medians['constrained'] / medians['unconstrained']:8.2f}")


if __name__ == "__main__":
    main()
