"""Makes the report's plots as JSON for Bokeh's JavaScript. A script in report.html adapts their colors to the theme."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.embed import json_item
from bokeh.models import (
    BoxZoomTool,
    ColorBar,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    NumeralTickFormatter,
    PanTool,
    ResetTool,
    WheelZoomTool,
)
from bokeh.palettes import Viridis256
from bokeh.plotting import figure

from sid_jax.report.gather import Gathered
from sid_jax.report.layout import COLORS
from sid_jax.report.shown import Shown

# Maximum number of cells per level in the plot of code usage. With more codes, a cell covers several codes.
_MOST_CELLS = 512
_LARGEST_BAR = 10
_CEILING = "upper bound for any decoder"
# Minimum number of points that are drawn as a curve.
_FEWEST_POINTS = 3


def plots(gathered: Gathered, shown: Shown) -> dict[str, Any]:
    """Returns the plots, by the ids of their HTML elements. Plots without data are omitted."""
    drawn = {
        "plot-usage": _usage(gathered),
        "plot-buckets": _buckets(gathered),
        "plot-fidelity": _fidelity(gathered),
        "plot-map": _map(shown),
        **_training(gathered.measured.get("training", {})),
    }
    return {name: json_item(plot, name) for name, plot in drawn.items() if plot is not None}


def _figure(height: int, **choices: Any) -> figure:
    plot = figure(height=height, sizing_mode="stretch_width", tools="", toolbar_location=None, **choices)
    plot.background_fill_color = plot.border_fill_color = None
    plot.outline_line_color = None
    plot.axis.minor_tick_line_color = None
    for axis in plot.axis:
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "12px"
    plot.min_border_right = 12
    return plot


def _usage(gathered: Gathered) -> figure:
    levels = [f"level {level}" for level in range(1, len(gathered.level_counts) + 1)]
    cells = [_cells(level, counts) for level, counts in zip(levels, gathered.level_counts, strict=True)]
    source = ColumnDataSource({name: [value for each in cells for value in each[name]] for name in cells[0]})
    high = float(np.quantile([share for share in source.data["share"] if share] or [1.0], 0.98))
    mapper = LinearColorMapper(Viridis256[24:], low=1e-6, high=max(high, 1.0), low_color="#e15759")
    plot = _figure(44 * len(levels) + 96, y_range=levels[::-1], x_axis_label="code")
    plot.rect(
        "middle",
        "level",
        "width",
        0.78,
        source=source,
        line_color=None,
        fill_color={"field": "share", "transform": mapper},
    )
    plot.add_layout(
        ColorBar(
            color_mapper=mapper,
            height=8,
            title="items per code, relative to the mean (red: no item)",
            title_text_font_style="normal",
            background_fill_color=None,
        ),
        "above",
    )
    plot.add_tools(
        HoverTool(
            tooltips=[("", "@level, code @codes"), ("items", "@items{0,0}"), ("relative to the mean", "@share{0.00}")]
        )
    )
    plot.grid.visible = False
    plot.x_range.range_padding = 0
    return plot


def _cells(level: str, counts: np.ndarray) -> dict[str, list[Any]]:
    width = -(-len(counts) // _MOST_CELLS)
    firsts = np.arange(0, len(counts), width)
    ends = np.minimum(firsts + width, len(counts))
    sums = np.add.reduceat(counts, firsts)
    even = counts.sum() / len(counts)
    return {
        "level": [level] * len(firsts),
        "codes": [str(a) if b - a == 1 else f"{a}–{b - 1}" for a, b in zip(firsts, ends, strict=True)],
        "middle": ((firsts + ends) / 2 - 0.5).tolist(),
        "width": (ends - firsts).tolist(),
        "items": sums.tolist(),
        "share": (sums / (ends - firsts) / even).tolist(),
    }


def _buckets(gathered: Gathered) -> figure:
    names = [str(size) for size in range(1, _LARGEST_BAR)] + [f"{_LARGEST_BAR}+"]
    counts = [0] * len(names)
    for size, how_many in gathered.tuple_sizes.items():
        counts[min(size, _LARGEST_BAR) - 1] += how_many * gathered.tuples_seen
    seen = [(name, count) for name, count in zip(names, counts, strict=True) if count]
    source = ColumnDataSource(
        {
            "size": [name for name, _ in seen],
            "count": [count for _, count in seen],
            "shown": [_short(count) for _, count in seen],
        }
    )
    plot = _figure(
        260,
        x_range=names,
        y_range=(0.5, 4 * max(counts)),
        y_axis_type="log",
        x_axis_label="items with the same codes",
        y_axis_label="code tuples",
    )
    plot.vbar("size", 0.8, "count", 0.5, source=source, color=COLORS[0])
    plot.text("size", "count", "shown", source=source, text_align="center", y_offset=-4, text_font_size="12px")
    plot.add_tools(HoverTool(tooltips=[("items with the same codes", "@size"), ("tuples", "@count{0,0}")]))
    plot.xgrid.visible = False
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0")
    plot.yaxis[0].ticker.desired_num_ticks = 4
    return plot


def _short(count: int) -> str:
    """Formats a number in at most four characters, the width that fits above a bar on a phone."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            # A count such as 9,960 is shown as 10k, since 10.0k has five characters.
            return f"{count / unit:.1f}{name}" if count < 9.95 * unit else f"{max(10, count // unit)}{name}"
    return str(count)


def _fidelity(gathered: Gathered) -> figure | None:
    found = gathered.measured.get("fidelity")
    if not found:
        return None
    lines = [
        ("these IDs", found["r2"], COLORS[0], "circle"),
        ("residual k-means", found["kmeans_r2"], COLORS[1], "square"),
    ]
    lines += [
        ("random codes", found["random_r2"], COLORS[8], "triangle"),
        (_CEILING, found["between_prefixes"], COLORS[4], "diamond"),
    ]
    depths = list(range(1, len(found["r2"]) + 1))
    low = min(0.0, *(value - 0.08 for _, values, _, _ in lines for value in values))
    plot = _figure(
        320, x_axis_label="prefix length (number of codes)", y_axis_label="R²", y_range=(max(low, -1.0), 1.05)
    )
    for name, values, color, marker in lines:
        source = ColumnDataSource({"depth": depths, "r2": values, "name": [name] * len(depths)})
        dash = "dashed" if name == _CEILING else "solid"
        plot.line("depth", "r2", source=source, color=color, line_width=3, line_dash=dash, legend_label=name)
        plot.scatter("depth", "r2", source=source, color=color, size=10, marker=marker, legend_label=name)
    plot.add_tools(HoverTool(tooltips=[("", "@name"), ("codes", "@depth"), ("R²", "@r2{0.000}")]))
    plot.xaxis.ticker = FixedTicker(ticks=depths)
    plot.x_range.range_padding = 0.08
    _legend_above(plot)
    return plot


def _map(shown: Shown) -> figure:
    # A script in report.html fills these two data sources, since report.html already has the items.
    points = ColumnDataSource({name: [] for name in ("x", "y", "color", "title", "sid")}, name="points")
    labels = ColumnDataSource({name: [] for name in ("x", "y", "words")}, name="labels")
    low, high = shown.layout.islands.min(axis=0) - 0.08, shown.layout.islands.max(axis=0) + 0.08
    plot = _figure(560, x_range=(low[0], high[0]), y_range=(low[1], high[1]), name="map")
    dots = plot.scatter("x", "y", source=points, size=6, color="color", alpha=0.7, line_color=None)
    plot.text("x", "y", "words", source=labels, text_align="center", text_font_size="12px", padding=2)
    plot.axis.visible = plot.grid.visible = False
    plot.add_tools(HoverTool(renderers=[dots], tooltips=[("", "@title"), ("ID", "@sid")], visible=False))
    # No tool is active at first, so that touching the map on a phone scrolls the report.
    plot.add_tools(BoxZoomTool(), PanTool(), WheelZoomTool(), ResetTool())
    plot.toolbar_location = "above"
    plot.toolbar.logo = plot.toolbar.active_drag = plot.toolbar.active_scroll = None
    return plot


def _training(training: dict[str, dict[str, list[Any]]]) -> dict[str, figure]:
    train, measured = training.get("train", {}), training.get("eval", {})
    levels = [name for name in measured if name.startswith("usage/")]
    wanted = {
        "plot-loss": (
            "loss",
            train,
            {"loss": "total", "reconstruction_loss": "reconstruction", "codebook_loss": "codebook"},
        ),
        "plot-quality": ("R² and distinct rate", measured, {"r2": "R²", "distinct_rate": "distinct rate"}),
        "plot-in-use": ("codes in use", measured, {name: f"level {name[6:]}" for name in levels}),
    }
    return {
        name: _curves(title, records, columns, log=name == "plot-loss")
        for name, (title, records, columns) in wanted.items()
        if len(records.get("step", [])) >= _FEWEST_POINTS and any(column in records for column in columns)
    }


def _curves(title: str, records: dict[str, list[Any]], columns: dict[str, str], *, log: bool) -> figure:
    plot = _figure(250, x_axis_label="step", y_axis_label=title, y_axis_type="log" if log else "linear")
    for number, (column, name) in enumerate(columns.items()):
        if column in records:
            values = [np.nan if value is None else value for value in records[column]]
            source = ColumnDataSource({"step": records["step"], "value": values, "name": [name] * len(values)})
            color = COLORS[number % len(COLORS)]
            plot.line("step", "value", source=source, color=color, line_width=2, legend_label=name)
            plot.scatter(
                "step", "value", source=source, color=color, size=4 if len(values) > 30 else 7, legend_label=name
            )
    if all(column.startswith("usage/") for column in columns):
        plot.y_range.start, plot.y_range.end = 0.0, 1.05
    plot.add_tools(HoverTool(tooltips=[("", "@name"), ("step", "@step{0,0}"), ("", "@value{0.0000}")]))
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0")
    plot.xaxis[0].ticker.desired_num_ticks = 5
    _legend_above(plot)
    return plot


def _legend_above(plot: figure) -> None:
    legend = plot.legend[0]
    plot.center.remove(legend)
    plot.add_layout(legend, "above")
    legend.orientation = "horizontal"
    legend.border_line_color = legend.background_fill_color = None
    legend.label_text_font_size = "12px"
    # Four entries in one row would be wider than the screen of a phone, but two columns fit.
    legend.ncols = 2 if len(legend.items) > 3 else 3
    legend.padding, legend.spacing, legend.margin = 0, 10, 4
