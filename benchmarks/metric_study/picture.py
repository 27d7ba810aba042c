"""Draws the figure of the metric study: each metric's rank correlation with NDCG@10, and three scatter plots."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metric_study.report import Judged
from sid_jax.recommend.evaluation.metrics import mean_interval

# The colors of the report's light theme (sid_jax/report/page/report.css). The plots have a light background, so that
# they are also readable on a docs page with a dark theme.
_PAGE, _CARD, _TEXT, _QUIET, _LINE, _ACCENT = "#f6f7f9", "#ffffff", "#1b1f27", "#5a6372", "#d9dde4", "#1f5fd0"
_FAMILIES = {
    "sid_jax": ("sid_jax, content", _ACCENT),
    "histories": ("with histories", "#17794a"),
    "peers": ("other tools", "#b3261e"),
    "plain": ("k-means, trees, LSH", "#c98500"),
    "controls": ("controls", "#8b95a1"),
}
_SHOWN = {
    "R² of co-occurrence, 1": "R² of co-occurrence, first code",
    "R²": "R² of the item vectors",
    "distinct codes": "distinct codes / items",
}
# Groups of ID tables whose correlations are shown.
_GROUPS = {"all": "#8b95a1", "content alone": _ACCENT}


@dataclasses.dataclass(frozen=True)
class Point:
    """An ID table's family and metrics, and its mean NDCG@10 with a confidence interval; an unknown interval is NaN."""

    family: str
    figures: Mapping[str, float]
    ndcg: tuple[float, float, float]

    @classmethod
    def of(cls, judged: Judged) -> Point:
        """Returns the point of an ID table with its results."""
        mean, low, high = mean_interval(judged.ndcg)
        return cls(judged.family, judged.figures, (mean, low, high))


def draw(points: Sequence[Point], groups: dict[str, dict[str, Any]], path: Path) -> None:
    """Plots each metric's correlation with NDCG@10, and NDCG@10 against three metrics.

    The extension of `path` determines the file format.
    """
    figure = Figure(figsize=(12, 9), dpi=110, layout="constrained", facecolor=_PAGE)
    left, right = figure.subfigures(1, 2, width_ratios=(1.2, 1))
    _draw_correlations(left.subplots(), groups)
    for axes, (name, label) in zip(right.subplots(len(_SHOWN), 1, sharey=True), _SHOWN.items(), strict=True):
        _draw_tables(axes, points, name, label)
    handles, labels = right.axes[0].get_legend_handles_labels()
    # The legend has two rows, since one row with the names of all families would be wider than the plots.
    right.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9, labelcolor=_TEXT)
    figure.savefig(path)


def _draw_correlations(axes: Axes, groups: dict[str, dict[str, Any]]) -> None:
    shown = [(name, groups[name]) for name in _GROUPS if name in groups]
    first = shown[0][1]["figures"]
    names = sorted(first, key=lambda name: first[name]["spearman"])
    for number, (group, found) in enumerate(shown):
        places = [place + 0.15 - 0.3 * number for place in range(len(names))]
        values = [found["figures"][name]["spearman"] for name in names]
        ends = np.array([found["figures"][name]["spearman_interval"] for name in names])
        axes.hlines(places, ends[:, 0], ends[:, 1], color=_GROUPS[group], linewidth=1.6)
        label = f"{group}: {len(found['tables'])} tables"
        axes.plot(values, places, "o", color=_GROUPS[group], markersize=5, label=label)
    axes.axvline(0, color=_QUIET, linewidth=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_xlim(-1, 1)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_title("Spearman's correlation with NDCG@10, 95 % intervals", fontsize=11, color=_TEXT, loc="right", pad=26)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=9, labelcolor=_TEXT)
    _tidy(axes)


def _draw_tables(axes: Axes, points: Sequence[Point], name: str, label: str) -> None:
    for family, (words, color) in _FAMILIES.items():
        members = [each for each in points if each.family == family and np.isfinite(each.figures[name])]
        x = [each.figures[name] for each in members]
        means, low, high = np.array([each.ndcg for each in members]).reshape(-1, 3).T
        axes.vlines(x, low, high, color=color, linewidth=0.9, alpha=0.4)
        axes.scatter(x, means, s=24, color=color, label=words)
    if name == "R² of co-occurrence, 1":
        # A logarithmic scale separates the tables made from content alone, whose values are all near 0.
        axes.set_xscale("symlog", linthresh=0.02)
        axes.set_xticks(ticks := [0, 0.02, 0.05, 0.1, 0.2, 0.5], map(str, ticks))
    axes.set_xlabel(label, color=_TEXT)
    axes.set_ylabel("NDCG@10", color=_TEXT)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.set_facecolor(_CARD)
    axes.grid(color=_LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_QUIET, labelcolor=_TEXT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_LINE)
