"""Runs the study: trains a ranker per item representation, and evaluates it on later ratings and on cold items."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from ranking_study.auc import Draws, auc
from ranking_study.compare import Measured, measure
from ranking_study.config import BASELINE, TRAINED, check_config, default_config
from ranking_study.ratings import Ratings, cold_items, make_examples, make_ratings
from ranking_study.report import print_tables, side_title
from ranking_study.sides import given_ids, load_ids, make_side, side_names
from ranking_study.training import rank
from sid_jax.data.catalogs.movielens.sources import load_movielens
from sid_jax.data.catalogs.names import movielens_size
from sid_jax.training.workdir import claimed_workdir
from sid_jax.whole_file import write_json

RESULTS_FILE = "results.json"
# Settings that may change when a workdir is resumed: locations of data and IDs, the requested item representations, and
# the number of bootstrap samples.
_FREE_TO_CHANGE = (
    "ids",
    "data.path",
    "data.cache_dir",
    "quantizer.data.path",
    "quantizer.data.cache_dir",
    "sides.kinds",
    "sides.rows",
    "sides.whole",
    "eval.bootstrap_samples",
)

# Results by kind of item representation and number of table rows, then by slice of the test ratings.
Results = dict[tuple[str, int], dict[str, Measured]]


def run(config: ConfigDict, workdir: Path, *, console: Console | None = None) -> Results:
    """Trains and evaluates the rankers of a config. A ranker whose scores are in the workdir is not trained again.

    Args:
      config: from `ranking_study.config`, or from a config file.
      workdir: folder for each run's IDs, each ranker's scores, and `results.json`.
      console: where to print; standard output if None.

    Returns:
      The results by item representation and number of table rows, then by slice of the test ratings.

    Raises:
      UserError: if the config, the data or the workdir cannot be used.
    """
    console = console or Console()
    check_config(config)
    data = config.data
    ratings = make_ratings(
        load_movielens(data.path, data.cache_dir, movielens_size(data.source)),
        liked_from=data.liked_from,
        until=data.until,
        train_share=data.train_share,
    )
    fingerprint = _fingerprint(config, ratings)
    with claimed_workdir(workdir, config, default_config(), fingerprint, free_to_change=_FREE_TO_CHANGE):
        sides = side_names(config)
        cold = np.stack([cold_items(ratings, data.cold_share, number, config.seed) for number in range(config.runs)])
        scores = [_run(config, ratings, cold[number], number, workdir, console) for number in range(config.runs)]
        test = slice(ratings.num_train, None)
        users, items, liked = ratings.users[test], ratings.items[test], ratings.liked[test]
        draws = Draws.of(len(ratings.traits), len(ratings.item_ids), config.eval.bootstrap_samples)
        results = {
            side: measure(np.stack([each[side] for each in scores]), liked, users, items, cold, draws) for side in sides
        }
        write_json(workdir / RESULTS_FILE, _content(config, ratings, cold, results))
        print_tables(console, results, about(ratings, cold))
        console.print(f"The results are in {workdir / RESULTS_FILE}", markup=False, highlight=False, soft_wrap=True)
    return results


def _run(
    config: ConfigDict, ratings: Ratings, cold: np.ndarray, number: int, workdir: Path, console: Console
) -> dict[tuple[str, int], np.ndarray]:
    """Returns the scores `[T]` of one run's rankers by item representation, read from files or computed."""
    folder, seed = workdir / f"run{number}", config.seed + number
    sides = side_names(config)
    files = {side: folder / f"{side[0]}-{side[1]}.npy" for side in sides}
    if not all(path.exists() for path in files.values()):
        table = load_ids(config, ratings.item_ids, cold, seed, folder)
        examples = make_examples(ratings, cold, config.data.window)
        trained = np.flatnonzero(~cold[ratings.items[: ratings.num_train]])
        train = jax.tree.map(lambda leaf: leaf[trained], examples)
        test = jax.tree.map(lambda leaf: leaf[ratings.num_train :], examples)
        impressions = np.bincount(train.items, minlength=len(cold))
        for (kind, rows), path in files.items():
            if path.exists():
                continue
            side = make_side(config, kind, rows, table, impressions, seed)
            found = rank(config, side, ratings.trait_sizes, train, test, seed)
            _write(path, found)
            of_cold = cold[test.items]
            figures = auc(found, test.liked)[0], auc(found[of_cold], test.liked[of_cold])[0]
            console.print(
                f"run {number}, {side_title(kind, rows)}: AUC {figures[0]:.4f}, of cold items {figures[1]:.4f}",
                highlight=False,
            )
    return {side: np.load(path, allow_pickle=False) for side, path in files.items()}


def _write(path: Path, scores: np.ndarray) -> None:
    """Writes a ranker's scores atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, scores)
    partial.replace(path)


def about(ratings: Ratings, cold: np.ndarray) -> dict[str, Any]:
    """Returns the sizes of the data, in total and on average over the runs."""
    test = ratings.items[ratings.num_train :]
    return {
        "num_runs": len(cold),
        "num_items": len(ratings.item_ids),
        "num_users": len(ratings.traits),
        "num_tested": len(test),
        "num_tested_cold": float(cold[:, test].sum(axis=1).mean()),
        "num_trained": float((~cold[:, ratings.items[: ratings.num_train]]).sum(axis=1).mean()),
        "num_cold_items": float(cold.sum(axis=1).mean()),
    }


def _content(config: ConfigDict, ratings: Ratings, cold: np.ndarray, results: Results) -> dict[str, Any]:
    rows = []
    for (kind, size), measured in results.items():
        row: dict[str, Any] = {"kind": kind, "rows": size}
        for name, each in measured.items():
            row[name] = {"auc": each.mean, "interval": each.interval(), "runs": each.runs}
            baseline = results.get((BASELINE, size))
            if baseline is not None and kind != BASELINE:
                row[name]["minus_random"] = each.minus(baseline[name])
        rows.append(row)
    return {"config": config.to_dict(), **about(ratings, cold), "test": rows}


def _fingerprint(config: ConfigDict, ratings: Ratings) -> str:
    """Returns the SHA-256 of the ratings, and of the IDs if they are given."""
    given = "" if config.ids == TRAINED else given_ids(config, ratings.item_ids).fingerprint()
    return hashlib.sha256((ratings.fingerprint() + given).encode()).hexdigest()
