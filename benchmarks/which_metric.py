"""Which metric of Semantic IDs predicts a recommender's quality? A study of dozens of ID tables with one recommender.

python benchmarks/which_metric.py --data=ml-100k.zip --folder=runs/which-metric --seeds=0,1,2 --out=which-metric.webp

The script makes each table of benchmarks/metric_study/tables.py once and computes its metrics. It trains a recommender
on the table with each seed, and tests the recommender on the last ten items of every user of MovieLens-100K. Finally,
it prints the rank correlation of each metric with NDCG@10. If the folder contains results with the same --known, only
the missing results are computed. With --minutes=0, no recommender is trained, and the script reports existing results.
This script needs the `bench` extra.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sid_jax.cache import keep_compiled_programs

# With the compilation cache, the programs of a table are compiled for the first seed only. The call must come before
# the import of JAX.
keep_compiled_programs()

import numpy as np  # noqa: E402
from metric_study.figures import measure  # noqa: E402
from metric_study.judge import judge  # noqa: E402
from metric_study.picture import Point, draw  # noqa: E402
from metric_study.report import Judged, report  # noqa: E402
from metric_study.tables import TOKENIZERS, Made  # noqa: E402
from metric_study.world import World, load_world  # noqa: E402

from sid_jax.errors import UserError  # noqa: E402
from sid_jax.whole_file import write_json  # noqa: E402

_SETTINGS_FILE, _FIGURES_FILE, _JUDGED_FILE = "settings.json", "figures.json", "judged.jsonl"


def main() -> None:
    """Makes and evaluates the requested tables that are missing, and reports the results of all requested tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default="", help="MovieLens-100K, as a folder or zip; default: the copy that train.py uses"
    )
    parser.add_argument("--folder", type=Path, required=True, help="folder for runs, tables and results")
    parser.add_argument(
        "--only", default="", help=f"tables, separated by commas: {', '.join(TOKENIZERS)}; default: all"
    )
    parser.add_argument("--known", type=int, default=20, help="maximum number of training items of each user")
    parser.add_argument("--seeds", default="0,1,2", help="seeds of the recommender, separated by commas")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="number of minutes after which no new run is started"
    )
    parser.add_argument("--out", type=Path, help="an image file for the plots")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(TOKENIZERS)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    _claim(arguments.folder, arguments.known)
    load = functools.cache(lambda: load_world(arguments.data, arguments.known, arguments.folder))
    _work(load, arguments.folder, names, seeds, time.monotonic() + 60 * arguments.minutes)
    judged = _read(load, arguments.folder, names, seeds)
    if not judged:
        raise UserError(
            f"{arguments.folder} has no results for these tables (--only) and seeds (--seeds); set a larger --minutes"
        )
    summary = report(judged)
    write_json(arguments.folder / "summary.json", summary)
    if arguments.out:
        draw([Point.of(each) for each in judged], summary["groups"], arguments.out)


def _claim(folder: Path, known: int) -> None:
    """Records `known`, the value of --known, in the folder, or compares it with the folder's record.

    Raises:
      UserError: if the folder's results were made with another value of --known.
    """
    path = folder / _SETTINGS_FILE
    there = json.loads(path.read_text())["known"] if path.exists() else known
    if there != known:
        raise UserError(f"{folder} contains a study with --known={there}, not {known}; choose another --folder")
    write_json(path, {"known": known})


def _work(load: Callable[[], World], folder: Path, names: list[str], seeds: list[int], deadline: float) -> None:
    """Evaluates all tables with the first seed, then all with the second, and so on, until the deadline."""
    done = {(each["table"], each["seed"]) for each in _judged(folder)}
    waiting = [(name, seed) for seed in seeds for name in names if (name, seed) not in done]
    if not waiting or time.monotonic() >= deadline:
        return
    world = load()
    _drop_torn_line(folder / _JUDGED_FILE)
    for name, seed in waiting:
        if time.monotonic() >= deadline:
            return
        began = time.monotonic()
        made = _table(world, folder, name)
        between = time.monotonic()
        per_user = judge(world, made.semantic_ids, seed)
        line = {"table": name, "seed": seed, "ndcg@10": float(per_user.mean()), "per_user": per_user.round(5).tolist()}
        with (folder / _JUDGED_FILE).open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(
            f"{name}, seed {seed}: NDCG@10 {per_user.mean():.4f}; table {between - began:.0f} s, recommender "
            f"{time.monotonic() - between:.0f} s",
            flush=True,
        )


def _table(world: World, folder: Path, name: str) -> Made:
    """Loads a table from the folder, or makes it."""
    path = folder / "tables" / f"{name}.npz"
    if path.exists():
        with np.load(path) as arrays:
            return Made(arrays["codes"], arrays["sizes"].tolist(), arrays["semantic_ids"], float(arrays["r2"]))
    made = TOKENIZERS[name].make(world, folder / "models")
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f"{name}.partial.npz")
    np.savez(partial, codes=made.codes, sizes=made.sizes, semantic_ids=made.semantic_ids, r2=made.r2)
    partial.replace(path)
    return made


def _figures(load: Callable[[], World], folder: Path, names: list[str]) -> dict[str, dict[str, float]]:
    """Returns the metrics of tables, read from the file or computed if missing."""
    path = folder / _FIGURES_FILE
    figures = json.loads(path.read_text()) if path.exists() else {}
    missing = [name for name in names if name not in figures]
    if missing:
        figures |= {name: measure(load(), _table(load(), folder, name)) for name in missing}
        write_json(path, figures)
    return figures


def _judged(folder: Path) -> list[dict[str, Any]]:
    """Returns the complete lines of results, without a last line that a killed process left incomplete."""
    path = folder / _JUDGED_FILE
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _drop_torn_line(path: Path) -> None:
    """Removes a last line that a killed process left incomplete, so that the next result starts on a new line."""
    if path.exists():
        with path.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _read(load: Callable[[], World], folder: Path, names: list[str], seeds: list[int]) -> list[Judged]:
    """Returns the tables that were evaluated at least once, with their results."""
    found: dict[str, list[list[float]]] = {}
    for row in _judged(folder):
        if row["table"] in names and row["seed"] in seeds:
            found.setdefault(row["table"], []).append(row["per_user"])
    figures = _figures(load, folder, list(found))
    return [
        Judged(name, TOKENIZERS[name].family, figures[name], np.array(per_user)) for name, per_user in found.items()
    ]


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
