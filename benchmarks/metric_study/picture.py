"""The study's figure: rank correlations of all metrics, and scatter plots of the tables for some of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metric_study.report import Judged
from sid_jax.recommend.evaluation.metrics import mean_interval

_COLORS = {
    "sid_jax": "#1d4ed8",
    "histories": "#0f766e",
    "peers": "#c2410c",
    "plain": "#a16207",
    "controls": "#8b95a1",
}
_SHOWN = ("R²", "distinct codes", "R² of prefixes, 1", "R² of co-occurrence, 1")
_BLACK = "#1f2937"
# Groups of tables whose correlations are shown.
_GROUPS = {"all": "#8b95a1", "content alone": "#1d4ed8"}


def draw(judged: list[Judged], summary: dict[str, Any], path: Path) -> None:
    """Plots the correlations of all metrics, and the tables by four of them, in the format of the file's ending."""
    figure = Figure(figsize=(13, 8), dpi=110, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
    _draw_correlations(left.subplots(), summary["groups"])
    for axes, name in zip(right.subplots(2, 2).flat, _SHOWN, strict=True):
        _draw_tables(axes, judged, name)
    handles, labels = right.axes[-1].get_legend_handles_labels()
    right.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path)


def _draw_correlations(axes: Axes, groups: dict[str, dict[str, Any]]) -> None:
    shown = [(name, groups[name]) for name in _GROUPS if name in groups]
    first = shown[0][1]["figures"]
    names = sorted(first, key=lambda name: first[name]["spearman"])
    for number, (group, found) in enumerate(shown):
        places = [place + 0.15 - 0.3 * number for place in range(len(names))]
        values = [found["figures"][name]["spearman"] for name in names]
        ends = np.array([found["figures"][name]["spearman_interval"] for name in names])
        axes.hlines(places, ends[:, 0], ends[:, 1], color=_GROUPS[group], linewidth=1.4)
        axes.plot(
            values, places, "o", color=_GROUPS[group], markersize=4.5, label=f"{group}: {len(found['tables'])} tables"
        )
    axes.axvline(0, color=_BLACK, linewidth=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_xlim(-1, 1)
    axes.set_xlabel("Spearman's correlation with NDCG@10, 95 %")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9)
    _tidy(axes)


def _draw_tables(axes: Axes, judged: list[Judged], name: str) -> None:
    for family, color in _COLORS.items():
        members = [each for each in judged if each.family == family and np.isfinite(each.figures[name])]
        x = [each.figures[name] for each in members]
        intervals = np.array([mean_interval(each.ndcg) for each in members]).reshape(-1, 3)
        axes.vlines(x, intervals[:, 1], intervals[:, 2], color=color, linewidth=0.8, alpha=0.35)
        axes.scatter(x, intervals[:, 0], s=22, color=color, label=family)
    if name == "R² of co-occurrence, 1":
        # Tables made from content alone are near 0, those made with histories are not.
        axes.set_xscale("symlog", linthresh=0.02)
        axes.set_xticks(ticks := [0, 0.02, 0.05, 0.1, 0.2, 0.5], map(str, ticks))
    axes.set_xlabel(name)
    axes.set_ylabel("NDCG@10")
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
