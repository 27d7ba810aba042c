"""The front of a sweep, the trials that no other one beats, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sid_jax.errors import UserError
from sid_jax.sweep.study import Trial

# Past so many trials on the front, only every other one and so on has its number in the picture.
_MOST_LABELS = 12


def settings_text(settings: Mapping[str, Any]) -> str:
    """Returns settings in a few words, without their sections."""
    return ", ".join(f"{name.rpartition('.')[2]}={_short(value)}" for name, value in settings.items())


def print_front(console: Console, trials: Sequence[Trial], front: Sequence[Trial], floor: float, folder: Path) -> None:
    """Prints the front, the settings of its trials, and the next command.

    Args:
      console: where to.
      trials: all.
      front: the best, the most distinct last; at least one.
      floor: no distinct rate can be above it.
      folder: of the trials' runs.
    """
    ended = [trial for trial in trials if trial.state != "running"]
    failed = sum(trial.state == "failed" for trial in ended)
    title = f"No trial of {len(ended)} ({failed} failed) beats these; distinct codes / items is at most {floor:.4f}"
    table = Table(title=title, title_justify="left")
    for name in ("trial", "distinct", "R^2"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("settings")
    for trial in front:
        distinct_rate, r2 = trial.values or (0.0, 0.0)
        table.add_row(str(trial.number), f"{distinct_rate:.4f}", f"{r2:.4f}", escape(settings_text(trial.settings)))
    console.print(table)
    chosen = folder / str(front[-1].number)
    console.print(
        f"Next, of whichever you choose: python export.py --workdir={chosen} --out=exports/{chosen.name}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def plot_front(path: Path, trials: Sequence[Trial], front: Sequence[Trial], floor: float) -> None:
    """Draws all complete trials and the front, as a PNG.

    Raises:
      UserError: if matplotlib is not installed.
    """
    try:
        # Without pyplot: no window, no state.
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("a sweep's picture needs matplotlib: run pip install -e '.[sweep]'") from error
    figure = Figure(figsize=(7.5, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    complete = [trial for trial in trials if trial.values]
    others = [trial.values for trial in complete if trial not in front]
    axes.scatter(*_columns(others), color="#9aa3ad", s=28, label="trials", zorder=2)
    x, y = _columns([trial.values for trial in front])
    axes.plot(x, y, color="#c2410c", linewidth=1.4, marker="o", markersize=6, label="the front", zorder=3)
    first = [trial.values for trial in complete if trial.number == 0]
    axes.scatter(*_columns(first), marker="s", s=90, facecolors="none", edgecolors="#1f2937", label="trial 0", zorder=4)
    every = -(-len(front) // _MOST_LABELS)
    for place, trial in enumerate(front):
        # The ends are the best of either kind, and always have their number.
        if place % every == 0 or place == len(front) - 1:
            axes.annotate(str(trial.number), (x[place], y[place]), (6, 6), textcoords="offset points", color="#c2410c")
    if floor <= max(x) + 0.25 * max(max(_columns([t.values for t in complete])[0]) - min(x), 0.01):
        axes.axvline(floor, color="#6b7280", linestyle=":", linewidth=1)
        axes.annotate("distinct vectors", (floor, 0.02), (-4, 0), xycoords=("data", "axes fraction"),
                      textcoords="offset points", rotation=90, ha="right", va="bottom", fontsize=8, color="#6b7280")  # fmt: skip
    axes.set(
        xlabel="distinct codes / items",
        ylabel="reconstruction R²",
        title=f"{len(complete)} trials: more distinct to the right, more faithful upwards",
    )
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.08)
    axes.legend(loc="best", frameon=False)
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png")
    partial.replace(path)


def _columns(points: Sequence[Any]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
