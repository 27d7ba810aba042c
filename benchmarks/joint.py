"""Joint training compared with fixed IDs: the same recommender, epochs and users, over several seeds.

python benchmarks/joint.py --config=configs/joint.py:ml100k --config.ids=exports/ml100k --workdir=runs/joint-ml100k
python benchmarks/joint.py --config=configs/joint.py:beauty --config.ids=exports/beauty --workdir=runs/joint-beauty \
    --config.data.path=sequences.txt

All methods start from the same export. With the method "frozen", the IDs of this export do not change. For each run,
the checkpoint with the best validation metric is tested on every user's last item. Differences are paired by user, with
95 % intervals over users and seeds. The metrics of a finished run are saved in WORKDIR. If the command is repeated, it
trains only the missing runs. A WORKDIR that was created with other settings is rejected.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from sid_jax import command
from sid_jax.errors import UserError
from sid_jax.export.artifact import load_export
from sid_jax.export.manifest import read_manifest
from sid_jax.recommend.compare import Compared, comparison_tables, write_comparison
from sid_jax.recommend.config import SETTINGS, check_config, default_config
from sid_jax.recommend.data.task import load_task
from sid_jax.recommend.evaluation.evaluate import rule_name
from sid_jax.recommend.joint.loop import IDS_FOLDER, JOINT_FOLDER
from sid_jax.recommend.run import ask_for_last_items, train_configured
from sid_jax.recommend.training.loop import free_to_change
from sid_jax.training.records import read_records
from sid_jax.training.workdir import claimed_workdir
from sid_jax.whole_file import write_json

_CONFIG = command.config_flag(["joint"])
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for the runs and their metrics.", required=True)
_WAYS = flags.DEFINE_list(
    "ways", ["frozen", "gumbel", "ste", "soft"], "Methods to compare: gradient estimators, and frozen (fixed IDs)."
)
_SEEDS = flags.DEFINE_integer("seeds", 5, "Number of runs per method, each with its own seed.")
_VALIDATION = flags.DEFINE_boolean(
    "validation", False, "Print validation metrics but no test metrics, to choose settings."
)


def main() -> None:
    """Trains the missing runs, and prints the tables."""
    console, workdir = Console(), Path(_WORKDIR.value)
    _claim(_CONFIG.value, workdir, console)
    # The outer loop is over seeds, so that a stopped comparison has all methods for the finished seeds.
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in _WAYS.value}
    for seed in range(_SEEDS.value):
        for way in _WAYS.value:
            runs[way].append(_run(_CONFIG.value, way, seed, workdir, console))
    console.print(_figures(runs))
    if _VALIDATION.value:
        return
    compared = [
        Compared(
            way,
            rule_name(_CONFIG.value.eval.exclude_seen),
            np.stack([run["places"] for run in each]),
            [run["metrics"] for run in each],
            0,
        )
        for way, each in runs.items()
    ]
    write_comparison(workdir / "joint.json", compared, _CONFIG.value.eval.bootstrap_samples)
    num_items = next(iter(runs.values()))[0]["num_items"]
    for table in comparison_tables(compared, _CONFIG.value, num_items):
        console.print(table)


def _claim(config: ConfigDict, workdir: Path, console: Console) -> None:
    """Records the settings and data in a new workdir, or compares them with the record of an existing workdir.

    Raises:
      UserError: if the settings or the data differ from the record, or cannot be used.
    """
    check_config(config)
    if not Path(config.ids).is_dir():
        raise UserError(f"config.ids is {config.ids!r}; give the folder of an export, from which all methods start")
    fingerprint = load_task(config).fingerprint()
    varied = ("seed", "joint.estimator")
    with claimed_workdir(
        workdir / "settings", config, default_config(), fingerprint, free_to_change=(*free_to_change(config), *varied)
    ):
        pass


def _run(config: ConfigDict, way: str, seed: int, workdir: Path, console: Console) -> dict[str, Any]:
    """Returns a run's metrics from their file; a run without this file is trained first."""
    name = f"{way}-seed{seed}"
    path = workdir / f"{name}.json"
    if not path.exists():
        config = config.copy_and_resolve_references()
        config.seed, config.joint.estimator = seed, "none" if way == "frozen" else way
        began = time.monotonic()
        begun = train_configured(config, workdir / name, console, name=way, quiet=False)
        if begun is None or not begun[1].finished:
            raise SystemExit(130)
        task, trained = begun
        seconds = time.monotonic() - began
        evaluation = ask_for_last_items(config, task, trained.ranker)
        validation = read_records(workdir / name / config.model.kind, "eval")
        figures = {
            "seconds": seconds,
            "num_items": len(task.table.item_ids),
            "validation": max(row["ndcg@10"] for row in validation),
            "metrics": evaluation.metrics,
            "places": evaluation.places,
            **_of_ids(Path(config.ids) if way == "frozen" else workdir / name / IDS_FOLDER),
            **({} if way == "frozen" else _of_joint_part(workdir / name, Path(config.ids))),
        }
        write_json(path, figures)
        # The run is deleted, since the checkpoints of many runs would fill the disk.
        shutil.rmtree(workdir / name)
    return json.loads(path.read_text())


def _of_ids(folder: Path) -> dict[str, Any]:
    metrics = read_manifest(folder)["metrics"]
    return {name: metrics[name] for name in ("usage", "distinct_rate", "r2", "r2_unique")}


def _of_joint_part(workdir: Path, start: Path) -> dict[str, Any]:
    rows = read_records(workdir / JOINT_FOLDER, "ids")
    before, after = (load_export(folder).table.codes for folder in (start, workdir / IDS_FOLDER))
    return {
        "changed": float((before != after).any(axis=1).mean()),
        "churn": [row["churn"] for row in rows],
        "least_usage": min(min(row["usage"]) for row in rows),
        "agreement": read_records(workdir / JOINT_FOLDER, "train")[-1]["agreement"],
    }


def _figures(runs: dict[str, list[dict[str, Any]]]) -> Table:
    """Returns a table with a row per method: validation, metrics of the IDs, and time, as means over seeds.

    Codebook usage is a minimum over seeds and levels, not a mean.
    """
    table = Table(title="Means over seeds; usage is the minimum over seeds and levels", title_justify="left")
    for name in (
        "method",
        "validation ndcg@10",
        "usage",
        "lowest usage in training",
        "distinct",
        "R2",
        "changed IDs",
        "agreement",
        "seconds",
    ):
        table.add_column(name, justify="right")
    for way, each in runs.items():
        joint = [run for run in each if "churn" in run]
        table.add_row(
            way,
            f"{np.mean([run['validation'] for run in each]):.4f}",
            f"{min(min(run['usage']) for run in each):.1%}",
            f"{min(run['least_usage'] for run in joint):.1%}" if joint else "",
            f"{np.mean([run['distinct_rate'] for run in each]):.3f}",
            f"{np.mean([run['r2'] for run in each]):.3f}",
            f"{np.mean([run['changed'] for run in joint]):.1%}" if joint else "",
            f"{np.mean([run['agreement'] for run in joint]):.1%}" if joint else "",
            f"{np.mean([run['seconds'] for run in each]):.0f}",
        )
    return table


if __name__ == "__main__":
    command.run(main, __doc__, SETTINGS)
