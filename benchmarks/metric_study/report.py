"""The study's report: rank correlation of each metric with the recommender's NDCG, for groups of tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from metric_study.correlation import rank_correlations, reliability
from metric_study.tables import CONTROLS, DEFAULT, HISTORIES
from sid_jax.recommend.evaluation.metrics import mean_interval, paired_difference


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """An ID table, its metrics, and NDCG@10 of each seed and user, `[S, U]`."""

    name: str
    family: str
    figures: dict[str, float]
    ndcg: np.ndarray


# Groups of ID tables for which correlations are computed. Each group is a subset of the previous group: all tables;
# tables that are not controls; tables made from content alone; and, of these, the tables with R², which is computed
# from decoded vectors.
GROUPS: dict[str, Callable[[Judged], bool]] = {
    "all": lambda each: True,
    "no controls": lambda each: each.family != CONTROLS,
    "content alone": lambda each: each.family not in (CONTROLS, HISTORIES),
    "content, decoded": lambda each: each.family not in (CONTROLS, HISTORIES) and np.isfinite(each.figures["R²"]),
}
_FEWEST = 5


def report(judged: list[Judged]) -> dict[str, Any]:
    """Prints one row per ID table and one row per metric, and returns the contents of these rows."""
    default = next((each for each in judged if each.name == DEFAULT), judged[0])
    tables = [_row(each, default) for each in sorted(judged, key=lambda each: -each.ndcg.mean())]
    members = {name: [each for each in judged if belongs(each)] for name, belongs in GROUPS.items()}
    groups = {name: _correlations(each) for name, each in members.items() if len(each) >= _FEWEST}
    console = Console(width=150)
    console.print(_table_of_tables(tables))
    console.print(_table_of_figures(groups))
    return {"tables": tables, "groups": groups}


def _row(each: Judged, default: Judged) -> dict[str, Any]:
    mean, low, high = mean_interval(each.ndcg)
    by_seed = each.ndcg.mean(axis=1).tolist()
    return {
        "name": each.name,
        "family": each.family,
        "ndcg@10": mean,
        "interval": (low, high),
        "minus_default": paired_difference(each.ndcg, default.ndcg),
        "by_seed": by_seed,
        "figures": each.figures,
    }


def _correlations(judged: list[Judged]) -> dict[str, Any]:
    """Returns the correlations, with intervals, of each metric that all the tables have."""
    ndcg = [each.ndcg for each in judged]
    names = [name for name in judged[0].figures if all(np.isfinite(each.figures[name]) for each in judged)]
    found = rank_correlations(np.array([[each.figures[name] for each in judged] for name in names]), ndcg)
    ends = {
        "spearman": np.quantile(found.spearman_draws, [0.025, 0.975], axis=0).T,
        "kendall": np.quantile(found.kendall_draws, [0.025, 0.975], axis=0).T,
    }
    figures = {
        name: {
            "spearman": float(found.spearman[row]),
            "spearman_interval": ends["spearman"][row].tolist(),
            "kendall": float(found.kendall[row]),
            "kendall_interval": ends["kendall"][row].tolist(),
        }
        for row, name in enumerate(names)
    }
    return {"tables": [each.name for each in judged], "reliability": reliability(ndcg), "figures": figures}


def _table_of_tables(rows: list[dict[str, Any]]) -> Table:
    shown = (
        "R²",
        "R² of prefixes, length 1",
        "neighbors with the same prefix, length 1",
        "co-occurring items with the same prefix, length 1",
        "distinct codes",
    )
    table = Table(title="NDCG@10, with 95 % intervals over users and seeds", title_justify="left")
    for column in ("table", "kind", "seeds", "NDCG@10", "interval", f"NDCG@10 minus that of {DEFAULT}", *shown):
        table.add_column(column, justify="left" if column in ("table", "kind") else "right")
    for row in rows:
        low, high = row["interval"]
        mean, least, most = row["minus_default"]
        minus = "" if row["name"] == DEFAULT else f"{mean:+.4f} ({least:+.4f} to {most:+.4f})"
        figures = (f"{row['figures'][name]:.3f}" for name in shown)
        table.add_row(
            row["name"],
            row["family"],
            str(len(row["by_seed"])),
            f"{row['ndcg@10']:.4f}",
            f"{low:.4f}–{high:.4f}",
            minus,
            *figures,
        )
    return table


def _table_of_figures(groups: dict[str, dict[str, Any]]) -> Table:
    title = "Rank correlation with NDCG@10: Spearman's rho, then Kendall's tau-b, with 95 % intervals"
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    for name, group in groups.items():
        table.add_column(f"{name}: {len(group['tables'])} tables, reliability {group['reliability']:.2f}")
    names = dict.fromkeys(name for group in groups.values() for name in group["figures"])
    order = next(iter(groups.values()))["figures"] if groups else {}
    for name in sorted(names, key=lambda name: -abs(order[name]["spearman"]) if name in order else 0):
        table.add_row(name, *(_cell(group["figures"].get(name)) for group in groups.values()))
    return table


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    parts = []
    for kind in ("spearman", "kendall"):
        low, high = found[f"{kind}_interval"]
        parts.append(f"{found[kind]:+.2f} ({low:+.2f} to {high:+.2f})")
    return "\n".join(parts)
