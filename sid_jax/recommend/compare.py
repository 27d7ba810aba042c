"""Compares ID tables: trains the same recommender on each table and tests it on the same users."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable
from sid_jax.messages import Messages
from sid_jax.recommend.config import check_config
from sid_jax.recommend.data.content import content_of
from sid_jax.recommend.data.quantizer import train_ids
from sid_jax.recommend.data.task import Task, load_ids, load_split, make_task
from sid_jax.recommend.evaluation.evaluate import PER_USER, Evaluation
from sid_jax.recommend.evaluation.metrics import mean_interval, paired_difference
from sid_jax.recommend.evaluation.report import figure, interval_text, wrapped
from sid_jax.recommend.models import build_model
from sid_jax.recommend.models.catalog import catalog_of
from sid_jax.recommend.run import ask_for_last_items
from sid_jax.recommend.training.loop import train_recommender, training_examples
from sid_jax.recommend.training.step import Recipe, make_state, train_steps
from sid_jax.training.sharding import all_devices, on_every_device
from sid_jax.training.workdir import alone_in
from sid_jax.whole_file import write_json
from sid_jax.wording import counted

PLAN_FILE = "plan.json"
RESULTS_FILE = "comparison.json"
# Number of validations per run; the checkpoint with the best validation metric is tested.
_EVALUATIONS = 3
_METRICS = ("recall@10", "ndcg@10")


@dataclasses.dataclass(frozen=True, eq=False)
class Compared:
    """Test results of one ID table under one rule for seen items (excluded or allowed).

    Attributes:
      name: the table's name.
      rule: the rule, in words.
      places: `[S, E]` int32, for S seeds and E users: the rank of the user's target in the list of the seed's model,
        from 1; 0 if the list does not contain the target.
      metrics: the metrics of each seed.
      num_invalid: number of generated IDs that belong to no item, over all seeds.
      other: the results under the other rule; None if it was not evaluated.
    """

    name: str
    rule: str
    places: np.ndarray
    metrics: list[dict[str, float]]
    num_invalid: int
    other: Compared | None = None

    @classmethod
    def of(cls, name: str, evaluations: Sequence[Evaluation], num_invalid: int) -> Compared:
        """Combines the evaluations of all seeds."""
        others = [each.other for each in evaluations if each.other is not None]
        places, metrics = np.stack([each.places for each in evaluations]), [each.metrics for each in evaluations]
        other = cls.of(name, others, num_invalid) if others else None
        return cls(name, evaluations[0].rule, places, metrics, num_invalid, other)

    @property
    def rules(self) -> tuple[Compared, ...]:
        """These results, followed by the results under the other rule if it was evaluated."""
        return (self,) if self.other is None else (self, self.other)


def compare(
    config: ConfigDict,
    sources: Sequence[str],
    workdir: Path,
    *,
    minutes: float,
    num_seeds: int,
    console: Console | None = None,
) -> list[Compared]:
    """Trains the config's recommender on each ID table, and prints a comparison with confidence intervals.

    The number of epochs is the same for all tables. It is the number that the slowest recommender completes in
    `minutes`. This number is measured once and saved, so an interrupted comparison continues with the same number. Each
    pair of a table and a seed has its own run in the workdir. Users and training examples are the same for all runs.

    Args:
      config: from `sid_jax.recommend.config`; its number of epochs is replaced.
      sources: a value of `config.ids` for each table; the items of the first table are the catalog.
      workdir: folder for the runs and `comparison.json`.
      minutes: maximum training time of one run.
      num_seeds: S, the number of training seeds.
      console: where to print; standard output if None.

    Returns:
      The results of each table; an empty list if the comparison was interrupted.

    Raises:
      UserError: if the config, the data or the workdir cannot be used.
    """
    console = console or Console()
    check_config(config)
    _refuse_what_it_leaves_out(config)
    if minutes <= 0 or num_seeds < 1:
        raise UserError(f"--minutes={minutes:g} and --seeds={num_seeds} must be above 0")
    with alone_in(workdir):
        return _compare(config, sources, workdir, minutes, num_seeds, console)


def _compare(
    config: ConfigDict, sources: Sequence[str], workdir: Path, minutes: float, num_seeds: int, console: Console
) -> list[Compared]:
    tasks = _load_tasks(config, sources, workdir, console)
    config = _budgeted(config, tasks, workdir, minutes, console)
    trainings = len(tasks) * num_seeds
    console.print(
        f"{len(tasks)} ID tables x {num_seeds} seeds: {trainings} training runs of {config.train.num_epochs:.1f} "
        f"epochs each. A test follows each training run. A training run takes at most {minutes:g} minutes, and all "
        f"training runs together take at most {trainings * minutes:g} minutes.",
        highlight=False,
        soft_wrap=True,
    )
    results = []
    for task in tasks:
        result = _train_seeds(config, task, workdir, num_seeds, console)
        if result is None:
            return []
        results.append(result)
    write_comparison(workdir / RESULTS_FILE, results, config.eval.bootstrap_samples)
    for table in comparison_tables(results, config, len(tasks[0].table.item_ids), console.width):
        console.print(table)
    messages = Messages.to_console(console)
    messages.line(f"The runs are in {workdir}, and the metrics are in {workdir / RESULTS_FILE}")
    best = max(range(len(results)), key=lambda row: np.mean([each["ndcg@10"] for each in results[row].metrics]))
    ids = shlex.quote(sources[best])
    messages.line(
        f"Next: to train with the IDs that have the highest mean ndcg@10, run the same command with --config.ids={ids} "
        "instead of --compare, and with another --workdir"
    )
    return results


def _refuse_what_it_leaves_out(config: ConfigDict) -> None:
    if config.joint.estimator != "none":
        raise UserError(
            f"--compare needs fixed IDs, but config.joint.estimator is {config.joint.estimator!r}; set "
            "--config=recommend, and give --compare the export that a joint run writes, WORKDIR/ids-joint"
        )
    if config.eval.cold_slots:
        raise UserError(
            f"--compare tests without slots for cold items, but config.eval.cold_slots is {config.eval.cold_slots}; "
            "set it to 0, or run each ID table separately"
        )


def _load_tasks(config: ConfigDict, sources: Sequence[str], workdir: Path, console: Console) -> list[Task]:
    tables: list[IdTable] = []
    for source in sources:
        named = config.copy_and_resolve_references()
        named.ids = source
        trained_ids = train_ids(named, workdir, console) if source == "rqvae" else None
        table = load_ids(named, trained_ids, catalog=tables[0].item_ids if tables else None)
        table = table.align(tables[0].item_ids) if tables else table
        tables.append(table.replace(name=_unused(table.name, [each.name for each in tables])))
    split = load_split(config, tables[0].item_ids)
    content = content_of(config, tables[0].item_ids, split.cold)
    return [make_task(table, split, content=content) for table in tables]


def _unused(name: str, taken: list[str]) -> str:
    number = 2
    unused = name
    while unused in taken:
        unused, number = f"{name}-{number}", number + 1
    return unused


def _budgeted(config: ConfigDict, tasks: list[Task], workdir: Path, minutes: float, console: Console) -> ConfigDict:
    """Returns the config with the number of epochs that `minutes` allows, or the number saved in the workdir."""
    plan = workdir / PLAN_FILE
    config = config.copy_and_resolve_references()
    if plan.exists():
        decided = json.loads(plan.read_text())
        if decided["minutes"] != minutes:
            raise UserError(
                f"{workdir} has a comparison with --minutes={decided['minutes']:g}, not {minutes:g}; use the same "
                "number, or another --workdir"
            )
        config.train.num_epochs = decided["num_epochs"]
    else:
        timed = [_time_a_call(config, task) for task in tasks]
        # The number of steps is a multiple of the steps per call, since a shorter last call would need its own
        # compilation in every run.
        calls = max(1, int(minutes * 60 / max(seconds for seconds, _ in timed)))
        config.train.num_epochs = calls * timed[0][1]
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(plan, {"minutes": minutes, "num_epochs": config.train.num_epochs})
    config.train.eval_every_epochs = config.train.num_epochs / _EVALUATIONS
    config.train.warmup_epochs = min(config.train.warmup_epochs, config.train.num_epochs / 10)
    return config


def _time_a_call(config: ConfigDict, task: Task) -> tuple[float, float]:
    """Returns the seconds per compiled call of many steps (without compilation) and the epochs per call."""
    mesh = all_devices()
    examples = training_examples(config, task)
    model = build_model(config, task.candidates)
    recipe = Recipe.of(config, len(jax.tree.leaves(examples)[0]), model)
    catalog = catalog_of(task.candidates, task.known)
    state, examples, catalog = on_every_device((make_state(model, recipe.init_optimizer), examples, catalog), mesh)
    seconds = []
    for _ in range(2):
        began = time.monotonic()
        state, _ = train_steps(recipe, state, examples, catalog, num_steps=recipe.lengths.log_every_steps, mesh=mesh)
        jax.block_until_ready(state)
        seconds.append(time.monotonic() - began)
    return seconds[-1], recipe.lengths.log_every_steps / recipe.lengths.steps_per_epoch


def _train_seeds(config: ConfigDict, task: Task, workdir: Path, num_seeds: int, console: Console) -> Compared | None:
    evaluations, num_invalid, messages = [], 0, Messages.to_console(console)
    for seed in range(num_seeds):
        seeded = config.copy_and_resolve_references()
        seeded.seed = config.seed + seed
        folder = workdir / f"{task.table.name}-seed{seeded.seed}"
        trained = train_recommender(seeded, task, folder, messages=messages, quiet=True)
        if not trained.finished:
            return None
        evaluation = ask_for_last_items(seeded, task, trained.ranker, messages)
        console.print(
            f"{task.table.name}, seed {seeded.seed}: R@10 {figure(evaluation.metrics['recall@10'])}, N@10 "
            f"{figure(evaluation.metrics['ndcg@10'])}; trained {trained.seconds:.0f} s, best at step {trained.step:,}",
            highlight=False,
        )
        evaluations.append(evaluation)
        num_invalid += trained.ranker.num_invalid
    return Compared.of(task.table.name, evaluations, num_invalid)


def write_comparison(path: Path, results: list[Compared], samples: int) -> None:
    """Writes each table's metrics and its paired differences from the first table, under each rule for seen items."""
    write_json(path, [_content(each, results[0], samples) for each in results])


def _content(each: Compared, first: Compared, samples: int) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": each.name,
        "rule": each.rule,
        "metrics": each.metrics,
        "invalid_ids": each.num_invalid,
        "intervals": {name: mean_interval(of(each.places), samples=samples) for name, of in PER_USER.items()},
        "minus_first": {
            name: paired_difference(of(each.places), of(first.places), samples=samples) for name, of in PER_USER.items()
        },
    }
    if each.other is not None and first.other is not None:
        content[each.other.rule] = _content(each.other, first.other, samples)
    return content


def comparison_tables(results: list[Compared], config: ConfigDict, num_items: int, width: int = 120) -> list[Table]:
    """Returns two tables for each rule for seen items: metrics, and paired differences from the first ID table."""
    by_rule = zip(*(each.rules for each in results), strict=True)
    return [table for each in by_rule for table in _tables_of_rule(each, config, num_items, width)]


def _tables_of_rule(results: Sequence[Compared], config: ConfigDict, num_items: int, width: int) -> list[Table]:
    samples, first = config.eval.bootstrap_samples, results[0]
    num_seeds, num_users = first.places.shape
    figures = Table(
        title=f"{first.rule.capitalize()}: {counted(num_seeds, 'seed')}, {counted(num_users, 'user')}, "
        f"{num_items:,} items, {config.train.num_epochs:.1f} epochs; 95 % confidence intervals over users and seeds",
        title_justify="left",
    )
    differences = Table(title=f"Difference from {first.name}, paired by user, {first.rule}", title_justify="left")
    for table in (figures, differences):
        table.add_column("IDs")
        for metric in _METRICS:
            table.add_column(metric, justify="right")
    figures.add_column("invalid IDs", justify="right")
    for each in results:
        means = [mean_interval(PER_USER[metric](each.places), samples=samples) for metric in _METRICS]
        cells = [f"{figure(mean)} ({interval_text(low, high)})" for mean, low, high in means]
        figures.add_row(each.name, *(wrapped(cell, width, len(cells)) for cell in cells), str(each.num_invalid))
    for each in results[1:]:
        cells = [_difference(each, first, metric, samples) for metric in _METRICS]
        # The text of a difference has signs and "to", so it is about 1.5 times as long as the text of a metric. It is
        # wrapped as if the console had two thirds of its width.
        differences.add_row(each.name, *(wrapped(cell, 2 * width // 3, len(cells)) for cell in cells))
    return [figures, differences] if len(results) > 1 else [figures]


def _difference(one: Compared, first: Compared, metric: str, samples: int) -> str:
    of = PER_USER[metric]
    mean, low, high = paired_difference(of(one.places), of(first.places), samples=samples)
    return f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"
