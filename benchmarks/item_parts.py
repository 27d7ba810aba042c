"""Ablation of the scorer: trains it with different sets of its components, and with several ID tables.

The components of an item's vector are "item", "codes" and "content" (config.model.item_parts).

python benchmarks/item_parts.py --config=configs/recommend.py:beauty --config.data.path=sequences.txt \
    --config.quantizer.data.path=items.npy --config.quantizer.data.ids_path=ids.txt \
    --ids=exports/items,kmeans,letter.json+1,random --num_seeds=3 --workdir=runs/parts

letter.json+1 is the ID table in letter.json, with 1 added to its item ids. With the first ID table, the scorer is
trained for each set of components. With each other table, it is trained with codes alone and with all components. The
scorer has one member and no blend, so that only the components differ. Test targets are grouped by their number of
occurrences in training, and NDCG@10 is also printed per group. A workdir that contains some of the runs is resumed.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags
from rich.console import Console
from rich.table import Table

from sid_jax import command
from sid_jax.config import SETTINGS as QUANTIZER_SETTINGS
from sid_jax.data.histories import item_counts
from sid_jax.messages import Messages
from sid_jax.recommend.config import ITEM_PARTS, SETTINGS
from sid_jax.recommend.data.content import content_of
from sid_jax.recommend.data.task import Task, load_ids, load_split, make_task
from sid_jax.recommend.evaluation.metrics import mean_interval, ndcg_at, paired_difference, recall_at
from sid_jax.recommend.evaluation.report import figure, interval_text
from sid_jax.recommend.run import ask_for_last_items
from sid_jax.recommend.training.loop import train_recommender
from sid_jax.signals import training_stopped
from sid_jax.whole_file import write_json

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A config file, optionally with an argument after a colon; --config.name=value changes a setting."
)
_IDS = flags.DEFINE_list(
    "ids", None, "ID tables, each given as in config.ids. The first table is used with each set of components."
)
_NUM_SEEDS = flags.DEFINE_integer("num_seeds", 3, "Number of seeds, starting with config.seed.", lower_bound=1)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the results; existing runs are not repeated.")
flags.mark_flags_as_required(["config", "ids", "workdir"])

# Targets are grouped by their number of occurrences in training: 0 to 4, 5 to 9, 10 to 29, and 30 or more.
_GROUPS = (4, 9, 29)


def main() -> None:
    """Trains the missing runs, and prints the tables."""
    config, workdir, console = _CONFIG.value, Path(_WORKDIR.value), Console(width=120)
    config.model.members, config.model.blend, config.eval.baselines = 1, (), ()
    tasks = _load_tasks(config, _IDS.value)
    places: dict[str, list[np.ndarray]] = {}
    for seed in range(config.seed, config.seed + _NUM_SEEDS.value):
        for name, task, parts in _variants(tasks):
            figures = _trained(config, seed, task, parts, workdir / f"{name.replace(' ', '_')}-{seed}.json")
            places.setdefault(name, []).append(np.asarray(figures))
        _print(console, config, tasks[0], {name: np.stack(each) for name, each in places.items()})


def _load_tasks(config: ConfigDict, sources: list[str]) -> list[Task]:
    tasks: list[Task] = []
    for source in sources:
        config.ids = source
        catalog = tasks[0].table.item_ids if tasks else None
        table = load_ids(config, catalog=catalog)
        table = table if catalog is None else table.align(catalog)
        split = tasks[0].split if tasks else load_split(config, table.item_ids)
        content = tasks[0].candidates.content if tasks else content_of(config, table.item_ids, split.cold)
        tasks.append(make_task(table, split, content=content))
    return tasks


def _variants(tasks: list[Task]) -> list[tuple[str, Task, tuple[str, ...]]]:
    """Returns the variants to train. Each has a name, a task with an ID table, and the components to use."""
    sets = [parts for size in (1, 2, 3) for parts in itertools.combinations(ITEM_PARTS, size)]
    variants = [(" + ".join(parts), tasks[0], parts) for parts in sets]
    for source, task in zip(_IDS.value[1:], tasks[1:], strict=True):
        for parts in (("codes",), ITEM_PARTS):
            variants.append((f"{' + '.join(parts)} of {Path(source).name}", task, parts))
    return variants


def _trained(config: ConfigDict, seed: int, task: Task, parts: tuple[str, ...], path: Path) -> list[list[int]]:
    """Trains a scorer, unless the file `path` has its results; returns the ranks of the E test targets, `[2, E]`.

    In row 0, seen items are excluded. In row 1, they are allowed.
    """
    if path.exists():
        return json.loads(path.read_text())
    config = config.copy_and_resolve_references()
    config.seed, config.model.item_parts = seed, parts
    run = train_recommender(config, task, None, messages=Messages.silent(), quiet=True)
    if not run.finished:
        raise training_stopped()
    rules = sorted(ask_for_last_items(config, task, run.ranker).rules, key=lambda each: not each.exclude_seen)
    places = [each.places.tolist() for each in rules]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, places)
    return places


def _print(console: Console, config: ConfigDict, task: Task, places: dict[str, np.ndarray]) -> None:
    """Prints each variant's metrics with seen items excluded and allowed, and its NDCG@10 per group of targets.

    Means have confidence intervals over users and seeds. `places` has the ranks `[S, 2, E]` of each variant, for S
    seeds.
    """
    samples = config.eval.bootstrap_samples
    everything = places[" + ".join(ITEM_PARTS)]
    for rule, title in enumerate(("seen items excluded", "seen items allowed")):
        table = Table(title=f"{title}, {len(everything)} seeds", title_justify="left")
        for column in (
            "components of an item's vector",
            "recall@10",
            "ndcg@10",
            "ndcg@10 minus the ndcg@10 with all components, paired by user",
        ):
            table.add_column(column)
        for name, each in places.items():
            found = [mean_interval(of(each[:, rule], 10), samples=samples) for of in (recall_at, ndcg_at)]
            cells = [f"{figure(mean)} ({interval_text(low, high)})" for mean, low, high in found]
            ndcg, all_parts = ndcg_at(each[:, rule], 10), ndcg_at(everything[:, rule], 10)
            mean, low, high = paired_difference(ndcg, all_parts, samples=samples)
            table.add_row(name, *cells, "" if each is everything else f"{mean:+.4f} ({low:+.4f} to {high:+.4f})")
        console.print(table)
    counts = item_counts(task.split.train)[task.split.test.targets]
    groups = np.searchsorted(_GROUPS, counts)
    names = [f"{low}-{high}" for low, high in zip((0, *(end + 1 for end in _GROUPS)), _GROUPS, strict=False)]
    table = Table(title="ndcg@10, seen items excluded, by the target's occurrences in training", title_justify="left")
    table.add_column("components of an item's vector")
    for group, name in enumerate((*names, f"{_GROUPS[-1] + 1} or more")):
        table.add_column(f"{name} ({np.mean(groups == group):.0%} of users)", justify="right")
    for name, each in places.items():
        ndcg = ndcg_at(each[:, 0], 10).mean(axis=0)
        table.add_row(name, *(figure(ndcg[groups == group].mean()) for group in range(len(_GROUPS) + 1)))
    console.print(table)


if __name__ == "__main__":
    command.run(main, __doc__, {**SETTINGS, "quantizer": QUANTIZER_SETTINGS})
