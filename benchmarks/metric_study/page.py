"""Draws the figure of the metric study from the tables of docs/which-metric.md, without any training.

python benchmarks/metric_study/page.py --page=docs/which-metric.md --out=docs/images/which-metric.webp
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from metric_study.picture import Point, draw  # noqa: E402
from metric_study.tables import CONTROLS, HISTORIES, TOKENIZERS  # noqa: E402

_NAN = float("nan")


def main() -> None:
    """Reads the tables of the page and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=Path("docs/which-metric.md"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    text = arguments.page.read_text(encoding="utf-8")
    points = _points(_rows(text, "IDs"))
    draw(points, _groups(_rows(text, "metric"), points), arguments.out)


def _rows(text: str, first: str) -> list[list[str]]:
    """Returns the cells of the table whose first column is named `first`, without the header."""
    (table,) = re.findall(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def _numbers(cell: str) -> list[float]:
    return [float(number.replace("−", "-")) for number in re.findall(r"[+−]?[0-9]*\.[0-9]+", cell)]


def _groups(rows: list[list[str]], points: list[Point]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    content = [each for each in points if each.family not in (CONTROLS, HISTORIES)]
    for group, tables, column in (("all", points, 1), ("content alone", content, 3)):
        cells = {row[0]: _numbers(row[column]) for row in rows}
        figures = {name: {"spearman": each[0], "spearman_interval": each[1:]} for name, each in cells.items()}
        found[group] = {"tables": tables, "figures": figures}
    return found


def _points(rows: list[list[str]]) -> list[Point]:
    points = []
    for name, ndcg, minus, together, r2, distinct in rows:
        # The row of the baseline has no NDCG@10. Every other row has an NDCG@10 and its difference from the baseline.
        # The baseline's NDCG@10 is computed from these two numbers.
        numbers = _numbers(ndcg) if ndcg else [_reference(rows), _NAN, _NAN]
        figures = {
            "R² of co-occurrence, 1": _numbers(together)[0],
            "R²": _numbers(r2)[0] if r2 else _NAN,
            "distinct codes": _numbers(distinct)[0],
        }
        assert minus or not ndcg, name
        points.append(Point(TOKENIZERS[name.strip("`")].family, figures, (numbers[0], numbers[1], numbers[2])))
    return points


def _reference(rows: list[list[str]]) -> float:
    values = [_numbers(row[1])[0] - _numbers(row[2])[0] for row in rows if row[1]]
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
