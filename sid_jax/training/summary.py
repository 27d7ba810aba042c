"""Text output of the quantizer's training: progress lines, the table of metrics, and a sample of the codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from rich.markup import escape
from rich.table import Table

from sid_jax.data.vector_set import VectorSet
from sid_jax.messages import Messages
from sid_jax.metrics.codes import distinct_tuples
from sid_jax.metrics.rows import Row, code_rows
from sid_jax.wording import counted

_SAMPLE_ITEMS = 10
_SAMPLE_PREFIXES = 3
_ITEMS_UNDER_A_PREFIX = 6


def steps_text(metrics: dict[str, Any], distinct: float | None) -> str:
    """Returns the text next to the progress bar: the metrics of the last steps."""
    return (
        f"loss {metrics['loss']:.2f} (reconstruction {metrics['reconstruction_loss']:.2f}, "
        f"codebook {metrics['codebook_loss']:.2f}) temperature {metrics['temperature']:.2f} "
        f"in use {_percent_list(metrics['usage'])}" + ("" if distinct is None else f" distinct {distinct:.1%}")
    )


def evaluation_text(last: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Returns one line with the losses of the last steps and the metrics of all items."""
    return (
        f"reconstruction {last['reconstruction_loss']:8.3f}  codebook {last['codebook_loss']:7.3f}  "
        f"temperature {last['temperature']:.3f}  R2 {metrics['r2']:.4f}  "
        f"distinct {metrics['distinct_rate']:.4f}  in use {_percent_list(metrics['usage'])}"
    )


def show_summary(messages: Messages, metrics: dict[str, Any], step: int, seconds: float, startup: float | None) -> None:
    """Prints the metrics of all items and the total time, which includes `startup` seconds of start-up."""
    spent = f"{seconds:.1f} s" + (f", of which start-up {startup:.1f} s" if startup else "")
    rows = [*_summary_rows(metrics), ("time", spent, "")]
    messages.closing(f"All {metrics['num_items']:,} items at step {step:,}", rows)


def _summary_rows(metrics: dict[str, Any]) -> list[Row]:
    of_sample = f"; over {metrics['num_measured']:,} random items" if "num_measured" in metrics else ""
    return [
        *code_rows(metrics),
        ("reconstruction R^2", f"{metrics['r2']:.4f}", f"1 means exact{of_sample}"),
        *(
            (f"R^2 of {name}", f"{r2:.4f}", "over the items that have this part")
            for name, r2 in metrics.get("r2_by_part", {}).items()
        ),
        ("reconstruction MSE", f"{metrics['mse']:.3e}", "per feature"),
        ("reconstruction cosine", f"{metrics['cosine']:.4f}", ""),
        ("items near a tie", f"{metrics['near_ties']:.2%}", "rounding may change their codes"),
        (
            "same codes in training and export",
            f"{metrics['agreement']:.2%}",
            "of the items; training codes with the last step's noise, if any",
        ),
    ]


def show_samples(messages: Messages, data: VectorSet, codes: np.ndarray) -> None:
    """Prints some items with their codes, and items under the most common prefixes."""
    titled = "title" in data.columns
    names = data.columns["title"] if titled else data.ids
    title = "Example items and their codes"
    items = Table(title=title, title_justify="left", min_width=len(title))
    for name in (data.id_name, "codes", "title")[: 2 + titled]:
        items.add_column(name, justify="right" if name == data.id_name else "left")
    # Only the printed rows are converted to text, since the text of millions of items would need more memory than
    # training.
    for row in np.linspace(0, len(codes) - 1, min(_SAMPLE_ITEMS, len(codes)), dtype=int):
        cells = _text(data.ids[row]), "-".join(map(str, codes[row].tolist())), _text(names[row])
        items.add_row(*cells[: 2 + titled])
    messages.show(items)
    depth = max(1, codes.shape[1] - 1)
    # For Python callers, `show` logs the heading at level DEBUG, like the items below; `line` would log it at INFO.
    messages.show(f"Items under the most common prefixes of {counted(depth, 'code')}:")
    for prefix, count in _common_prefixes(codes[:, :depth]):
        rows = np.flatnonzero((codes[:, :depth] == prefix).all(axis=1))[:_ITEMS_UNDER_A_PREFIX]
        more = f" and {count - len(rows)} more" if count > len(rows) else ""
        found = "; ".join(_text(names[row]) for row in rows)
        messages.show(f"[bold]{'-'.join(map(str, prefix.tolist()))}-*[/bold]  {found}{more}")


def _text(value: object) -> str:
    """Returns a value as text with escaped brackets, since titles must not be parsed as markup."""
    found = value.as_py() if isinstance(value, pa.Scalar) else value
    return escape("" if found is None else str(found))


def _common_prefixes(prefixes: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Yields the most common prefixes, each with its number of items; `prefixes` `[N, l]` has one row per item."""
    tuples, counts = distinct_tuples(prefixes)
    for each in np.argsort(-counts, kind="stable")[:_SAMPLE_PREFIXES]:
        yield tuples[each], int(counts[each])


def _percent_list(shares: list[float]) -> str:
    return "/".join(f"{share:.0%}" for share in shares)
