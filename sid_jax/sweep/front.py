"""Prints and plots the Pareto front of a sweep, which consists of the trials that no other trial dominates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from sid_jax.messages import Messages
from sid_jax.sweep.study import Trial
from sid_jax.whole_file import whole_file

# Maximum number of labels in the plot. If the front has more trials, only every n-th trial and the last one are
# labeled.
_MOST_LABELS = 12
_GREY, _RED, _BLACK = "#8b95a1", "#c2410c", "#1f2937"


def settings_text(settings: Mapping[str, Any]) -> str:
    """Formats settings as short text, without the names of their sections."""
    short = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in settings.items()}
    return ", ".join(f"{name.rpartition('.')[2]}={value}" for name, value in short.items())


def print_front(messages: Messages, trials: Sequence[Trial], front: Sequence[Trial], most: float) -> None:
    """Prints the trials of the front with their settings, by ascending distinct rate.

    `most` is the upper bound of the distinct rate.
    """
    ended = [trial for trial in trials if trial.state != "running"]
    failed = sum(trial.state == "failed" for trial in ended)
    title = (
        f"Pareto front of {len(ended)} trials ({failed} failed): the trials for which no other trial is at least as "
        f"good in both metrics and better in one.\nThe distinct rate is at most {most:.4f}"
    )
    table = Table(title=title, title_justify="left")
    for name in ("trial", "distinct rate", "R^2"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("settings")
    for trial in front:
        distinct_rate, r2 = trial.values or (0.0, 0.0)
        table.add_row(str(trial.number), f"{distinct_rate:.4f}", f"{r2:.4f}", escape(settings_text(trial.settings)))
    messages.show(table)


def plot_front(
    path: Path, trials: Sequence[Trial], front: Sequence[Trial], most: float, own: Mapping[str, Any] | None
) -> None:
    """Plots all complete trials and the front in a PNG file; `trials`, `front` and `most` are as for `print_front`.

    `own` has the config's own values of the searched settings; None if a value is outside the search space. The trial
    with these values is marked.
    """
    # The figure is made without pyplot, since pyplot has global state and may open a window.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    complete = [trial for trial in trials if trial.values]
    axes.scatter(*_columns(trial for trial in complete if trial not in front), color=_GREY, s=28, label="trials")
    # The front is drawn as steps, since no trial has reached the values between two trials.
    x, y = _columns(front)
    axes.plot(x, y, drawstyle="steps-pre", color=_RED, linewidth=1.2, marker="o", markersize=6, label="the front")
    marked = _columns(trial for trial in complete if trial.settings == own)
    if marked[0]:
        axes.scatter(*marked, marker="s", s=90, facecolors="none", edgecolors=_BLACK, label="settings of the config")
    # With many trials, one label is reserved for the last trial. The other labels go to every n-th trial.
    every = 1 if len(front) <= _MOST_LABELS else -(-len(front) // (_MOST_LABELS - 1))
    for place, trial in enumerate(front):
        # The first trial has the highest R^2, and the last one the highest distinct rate. Both are always labeled.
        if place % every == 0 or place == len(front) - 1:
            axes.annotate(str(trial.number), (x[place], y[place]), (5, 5), textcoords="offset points", color=_RED)
    all_x = _columns(complete)[0]
    if most <= max(all_x) + max(max(all_x) - min(all_x), 0.01) / 2:
        axes.axvline(most, color=_GREY, linestyle=":", label="upper bound")
    axes.set(xlabel="distinct codes / items", ylabel="reconstruction R²")
    axes.set_title(
        f"{len(complete)} trials; highest R²: trial {front[0].number}, most distinct codes: trial {front[-1].number}"
    )
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.08)
    axes.legend(loc="best", frameon=False, fontsize=9)
    with whole_file(path) as file:
        figure.savefig(file, format="png")


def _columns(trials: Iterable[Trial]) -> tuple[list[float], list[float]]:
    """Returns the distinct rates and the R^2 of complete trials."""
    values = [trial.values for trial in trials if trial.values]
    return [distinct_rate for distinct_rate, _ in values], [r2 for _, r2 in values]
