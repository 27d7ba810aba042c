"""What a person sees while a run goes on and when it is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from sid_jax.data.vector_set import VectorSet
from sid_jax.metrics.codes import distinct_tuples

_SAMPLE_ITEMS = 10
_SAMPLE_PREFIXES = 3
_ITEMS_UNDER_A_PREFIX = 6


class ProgressBar:
    """A bar with the time left and the last metrics; nothing where there is no terminal."""

    def __init__(self, console: Console, num_steps: int, step: int):
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=num_steps, completed=step, shown="")

    def start(self) -> None:
        """Shows the bar."""
        self._progress.start()

    def stop(self) -> None:
        """Leaves the bar as it stands."""
        self._progress.stop()

    def move(self, step: int, shown: str) -> None:
        """Moves the bar on, with these words beside it."""
        self._progress.update(self._task, completed=step, shown=shown)


def steps_text(metrics: dict[str, Any], distinct: float | None) -> str:
    """Returns the metrics of the last steps in a few words."""
    return (
        f"loss {metrics['loss']:.2f} (reconstruction {metrics['reconstruction_loss']:.2f}, "
        f"codebook {metrics['codebook_loss']:.2f}) T {metrics['temperature']:.2f} "
        f"in use {_percent_list(metrics['usage'])}" + ("" if distinct is None else f" distinct {distinct:.1%}")
    )


def evaluation_text(step: int, last: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Returns a line with the whole corpus' figures."""
    return (
        f"step {step:>6} epoch {last['epoch']:>6.1f}  loss {last['loss']:8.3f}  "
        f"reconstruction {last['reconstruction_loss']:8.3f}  codebook {last['codebook_loss']:7.3f}  "
        f"T {last['temperature']:.3f}  R2 {metrics['r2']:.4f}  "
        f"distinct {metrics['distinct_rate']:.4f}  in use {_percent_list(metrics['usage'])}"
    )


def print_summary(console: Console, metrics: dict[str, Any], step: int, seconds: str) -> None:
    """Prints the table of the whole corpus' figures, and the time."""
    table = Table(title=f"The corpus of {metrics['num_items']:,} items at step {step:,}", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("beside it")
    for row in _summary_rows(metrics):
        table.add_row(*row)
    table.add_row("time", seconds, "")
    console.print(table)


def _summary_rows(metrics: dict[str, Any]) -> list[tuple[str, str, str]]:
    codes = " / ".join(f"{value:.1%}".replace("100.0%", "100%") for value in metrics["usage"])
    perplexities = " / ".join(f"{value:.1f}" for value in metrics["perplexity"])
    sizes = " / ".join(map(str, metrics["codebook_size"]))
    return [
        (
            "distinct codes / items",
            f"{metrics['distinct_rate']:.4f}",
            f"at most {metrics['max_distinct_rate']:.4f}",
        ),
        ("items in a collision", f"{metrics['collision_share']:.2%}", f"largest bucket {metrics['largest_bucket']}"),
        ("codes in use, by level", codes, f"of {sizes}"),
        ("perplexity, by level", perplexities, f"of {sizes}"),
        ("reconstruction R^2", f"{metrics['r2']:.4f}", "1 is exact"),
        ("reconstruction MSE", f"{metrics['mse']:.3e}", "a feature"),
        ("reconstruction cosine", f"{metrics['cosine']:.4f}", ""),
        ("items near a tie", f"{metrics['near_ties']:.2%}", "rounding might tip them"),
        ("training codes = exported", f"{metrics['agreement']:.2%}", "of items, at the last step"),
    ]


def print_samples(console: Console, data: VectorSet, codes: np.ndarray) -> None:
    """Prints some items with their codes, and the items under the prefixes that most of them share."""
    names = data.columns.get("title", data.ids)
    items = Table(title="Some items and their codes", title_justify="left")
    items.add_column(data.id_name, justify="right")
    items.add_column("codes")
    items.add_column("")
    # Text is made of what is printed alone: of millions of items it would take more memory than training them.
    for row in np.linspace(0, len(codes) - 1, min(_SAMPLE_ITEMS, len(codes)), dtype=int):
        items.add_row(_text(data.ids[row]), "-".join(map(str, codes[row].tolist())), _text(names[row]))
    console.print(items)
    depth = max(1, codes.shape[1] - 1)
    for prefix, count in _common_prefixes(codes[:, :depth]):
        rows = np.flatnonzero((codes[:, :depth] == prefix).all(axis=1))[:_ITEMS_UNDER_A_PREFIX]
        more = f" and {count - len(rows)} more" if count > len(rows) else ""
        console.print(
            f"[bold]{'-'.join(map(str, prefix.tolist()))}-*[/bold]  "
            + "; ".join(_text(names[row]) for row in rows)
            + more,
            highlight=False,
            soft_wrap=True,
        )


def _text(value: object) -> str:
    """Returns it as text of which no bracket is markup: titles are data."""
    return escape(str(value))


def _common_prefixes(prefixes: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Yields those of `[N, l]` that most items share, and how many do."""
    tuples, counts = distinct_tuples(prefixes)
    for each in np.argsort(-counts, kind="stable")[:_SAMPLE_PREFIXES]:
        yield tuples[each], int(counts[each])


def _percent_list(shares: list[float]) -> str:
    return "/".join(f"{share:.0%}" for share in shares)
