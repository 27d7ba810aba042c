"""Text output of a recommender's evaluation: tables with intervals, and recommendation lists with titles."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sid_jax.recommend.data.task import Task
from sid_jax.recommend.evaluation.evaluate import PER_USER, Evaluation
from sid_jax.recommend.ranker import ModelRanker
from sid_jax.wording import counted

# The metrics in the one-line summary of a recommender.
_SHOWN = ("recall@10", "ndcg@10")
_SAMPLE_USERS = 3
_SAMPLE_HISTORY = 5
_SAMPLE_LIST = 5
# Width, in characters, of the column of names in a table of recommenders.
_NAMES = 15


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationReport:
    """Test results of a recommender and of baselines, as text, as HTML and as numbers.

    The metrics are computed under the rule of `eval.exclude_seen` for seen items. `other` has the results under the
    other rule.

    Attributes:
      evaluations: the evaluation of the recommender, followed by one evaluation per baseline.
      num_items: N, the size of the catalog.
      samples: number of bootstrap samples.
    """

    evaluations: tuple[Evaluation, ...]
    num_items: int
    samples: int

    @property
    def exclude_seen(self) -> bool:
        """Whether every user's list excludes the items of this user's history."""
        return self.evaluations[0].exclude_seen

    @property
    def other(self) -> EvaluationReport | None:
        """The results under the other rule for seen items; None if it was not evaluated."""
        others = tuple(each.other for each in self.evaluations if each.other is not None)
        return dataclasses.replace(self, evaluations=others) if others else None

    @property
    def metrics(self) -> dict[str, float]:
        """The recommender's metrics by name: recall@5, recall@10, ndcg@5, ndcg@10, mrr, coverage@10, entropy@10."""
        return self.evaluations[0].metrics

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % bootstrap intervals of the recommender's metrics that are means over users."""
        return {name: self.evaluations[0].interval(name, self.samples) for name in PER_USER}

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """The baselines' metrics, by the name of the baseline."""
        return {each.name: each.metrics for each in self.evaluations[1:]}

    def __repr__(self) -> str:
        """Returns, for each rule for seen items, a header and one line per recommender."""
        rows = [
            f"{each.name}: "
            + ", ".join(f"{name} {cell}" for name, cell in _column(each, self.samples) if name in _SHOWN)
            for each in self.evaluations
        ]
        lines = [f"EvaluationReport: {self._protocol()}", *rows]
        return "\n".join(lines if self.other is None else [*lines, repr(self.other)])

    def _repr_html_(self) -> str:
        return self._html() if self.other is None else self._html() + self.other._html()

    def _html(self) -> str:
        columns = [_column(each, self.samples) for each in self.evaluations]
        head = "".join(f"<th>{html.escape(each.name)}</th>" for each in self.evaluations)
        body = "".join(
            f"<tr><td>{cells[0][0]}</td>{''.join(f'<td>{cell}</td>' for _, cell in cells)}</tr>"
            for cells in zip(*columns, strict=True)
        )
        return f"<p>{html.escape(self._protocol())}</p><table><tr><th></th>{head}</tr>{body}</table>"

    def _protocol(self) -> str:
        seen = "excluded" if self.exclude_seen else "allowed"
        users = len(self.evaluations[0].places)
        return (
            f"{users:,} users, {self.num_items:,} items; the target is each user's last item; seen items are {seen}; "
            "95 % confidence intervals"
        )


def print_evaluations(
    console: Console,
    config: ConfigDict,
    task: Task,
    ranker: ModelRanker,
    evaluations: list[Evaluation],
    with_slots: list[Evaluation],
) -> None:
    """Prints a table with one column per recommender.

    If there are cold items, further tables follow, which separate users with cold targets from the other users. The
    results under the config's rule for seen items come first, then the results under the other rule.

    Args:
      console: where to print.
      config: the run's config.
      task: the task.
      ranker: the trained model.
      evaluations: evaluations of the model and of the baselines.
      with_slots: evaluations of the rankers whose lists have slots for cold items.
    """
    console.print(_title(config, task), markup=False, highlight=False, soft_wrap=True)
    table = Table()
    table.add_column("metric")
    for each in evaluations:
        table.add_column(each.name, justify="right")
    for by_rule in zip(*(each.rules for each in evaluations), strict=True):
        table.add_row(f"[bold]{by_rule[0].rule}[/bold]")
        for row in zip(*(_column(each, config.eval.bootstrap_samples) for each in by_rule), strict=True):
            table.add_row(row[0][0], *(wrapped(cell, console.width, len(row)) for _, cell in row))
        table.add_section()
    console.print(table)
    if task.split.cold.any():
        for by_rule in zip(*(each.rules for each in [*evaluations, *with_slots]), strict=True):
            console.print(_cold_table(task, by_rule, config.eval.bootstrap_samples, console.width))
    if task.split.test.left_out:
        console.print(
            f"Not tested: {counted(task.split.test.left_out, 'user')} whose history contains only cold items",
            highlight=False,
        )
    if ranker.num_generated:
        console.print(
            f"Generated IDs that no item has: {ranker.num_invalid} of {ranker.num_generated:,}", highlight=False
        )


def print_samples(console: Console, task: Task, evaluation: Evaluation) -> None:
    """Prints, for a few users, the last items of the history, the recommended items and the target."""
    examples = task.split.test
    for user in np.linspace(0, len(examples.targets) - 1, min(_SAMPLE_USERS, len(examples.targets)), dtype=int):
        history = examples.histories.of(user)[-_SAMPLE_HISTORY:]
        found = evaluation.lists[user][:_SAMPLE_LIST]
        lines = (
            ("history", history),
            ("recommended", found[found >= 0]),
            ("target", examples.targets[user : user + 1]),
        )
        console.print(f"[bold]user {escape(str(examples.histories.user_ids[user]))}[/bold]", highlight=False)
        for label, items in lines:
            names = "; ".join(item_name(task, item) for item in items)
            console.print(f"  {label:<11} {escape(names)}", highlight=False, soft_wrap=True)


def item_name(task: Task, item: int) -> str:
    """Returns an item's title, or its id if it has no title."""
    titles = task.table.titles
    return str(task.table.item_ids[item] if titles is None or not titles[item] else titles[item])


def figure(value: float) -> str:
    """Formats a metric for tables of recommenders: 0.0648."""
    return f"{value:.4f}"


def interval_text(low: float, high: float) -> str:
    """Formats an interval: 0.0612–0.0684."""
    return f"{figure(low)}–{figure(high)}"


def wrapped(cell: str, width: int, columns: int) -> str:
    """Breaks a metric with its interval into lines that fit into a table cell.

    Args:
      cell: such as "0.0648 (0.0612–0.0684)".
      width: number of characters of the console.
      columns: number of columns of metrics. The table also has one column of names.
    """
    # The edge and the padding of a cell take 3 characters. An interval has 13 characters, or 15 with parentheses.
    room = (width - _NAMES) // columns - 3
    if room >= 15:
        return cell
    lines = cell.replace(" (", "\n").removesuffix(")")
    return lines if room >= 13 else lines.replace("–", "–\n").replace(" to ", " to\n")


def _title(config: ConfigDict, task: Task) -> str:
    seen = "exclude" if config.eval.exclude_seen else "may contain"
    return (
        f"Test: {len(task.split.test.targets):,} users, {len(task.table.item_ids):,} items; the target is each user's "
        f"last item. The example recommendations above {seen} seen items. IDs: {task.table.name}"
    )


def _column(evaluation: Evaluation, samples: int) -> list[tuple[str, str]]:
    """Returns names and formatted values of the metrics, with 95 % intervals for means over users."""
    metrics = evaluation.metrics
    means = [
        (name, f"{figure(metrics[name])} ({interval_text(*evaluation.interval(name, samples))})") for name in PER_USER
    ]
    return [
        *means,
        ("coverage@10", f"{metrics['coverage@10']:.1%}"),
        ("entropy@10, bits", f"{metrics['entropy@10']:.2f}"),
    ]


def _cold_table(task: Task, evaluations: Sequence[Evaluation], samples: int, width: int) -> Table:
    cold = task.split.cold[task.split.test.targets]
    table = Table(
        title=f"{counted(int(cold.sum()), 'user')} whose target is cold (excluded from all training), and the other "
        f"users; {evaluations[0].rule}",
        title_justify="left",
    )
    for name in ("recommender", "R@10, cold", "N@10, cold", "R@50, cold", "R@10, others"):
        table.add_column(name, justify="left" if name == "recommender" else "right", overflow="fold")
    for each in evaluations:
        of_cold, of_others = each.of_users(cold, samples), each.of_users(~cold, samples)
        found = figure((each.places[cold] > 0).mean()) if cold.any() else "-"
        table.add_row(
            each.name,
            wrapped(_with_interval(of_cold, "recall@10"), width, 4),
            wrapped(_with_interval(of_cold, "ndcg@10"), width, 4),
            found,
            wrapped(_with_interval(of_others, "recall@10"), width, 4),
        )
    return table


def _with_interval(figures: dict[str, Any], metric: str) -> str:
    if not figures["num_users"]:
        return "-"
    return f"{figure(figures[metric])} ({interval_text(*figures['intervals'][metric])})"
