"""Rows of the tables in which commands print metrics of codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Name, value and note.
Row = tuple[str, str, str]


def code_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """Returns table rows for the metrics that `sid_jax.metrics.codes.code_figures` returns."""
    codes = " / ".join(f"{value:.1%}".replace("100.0%", "100%") for value in metrics["usage"])
    perplexities = " / ".join(f"{value:.1f}" for value in metrics["perplexity"])
    sizes, most = " / ".join(map(str, metrics["codebook_size"])), metrics.get("max_distinct_rate")
    bound = "" if most is None else f"at most {most:.4f}"
    return [
        ("distinct codes / items", f"{metrics['distinct_rate']:.4f}", bound),
        ("items in a collision", f"{metrics['collision_share']:.2%}", f"largest bucket {metrics['largest_bucket']}"),
        ("codes in use, by level", codes, f"of {sizes}"),
        ("perplexity, by level", perplexities, f"of {sizes}"),
    ]
