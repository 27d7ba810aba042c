"""Writes the report of an export: one HTML page made of the files in `page/`, Bokeh's JavaScript and the data."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from sid_jax.errors import UserError
from sid_jax.failures import in_one_line
from sid_jax.messages import Messages
from sid_jax.paths import file_to_write, typed
from sid_jax.report.gather import Gathered, gather, read_rows
from sid_jax.report.layout import COLORS
from sid_jax.report.shown import Shown, shown_items, title_of
from sid_jax.report.verdict import Figure, Verdict, percent, verdict
from sid_jax.whole_file import whole_file
from sid_jax.wording import counted

REPORT_FILE = "report.html"

_PARTS = Path(__file__).parent / "page"
_SCRIPTS = ("theme.js", "items.js", "search.js", "tree.js", "lists.js", "map.js", "main.js")
_GRADES = {"good": "good", "fair": "to watch", "weak": "weak", "none": "for information"}


def write_report(folder: Path, out: str | Path | None = None, *, messages: Messages | None = None) -> Path:
    """Writes the report of an export atomically, and returns its path. An existing report is replaced.

    Args:
      folder: an export's folder, written by `sid-jax export`.
      out: path of the report; None for `report.html` in the folder.
      messages: where to print; standard output if None.

    Raises:
      UserError: if the folder is not a finished export, or the report cannot be written.
    """
    out = file_to_write(out or folder / REPORT_FILE)
    try:
        _write(folder, out, folder.resolve().name)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; set another file with --out") from error
    (messages or Messages.to_console()).line(f"The report is in {out}")
    return out


def report_of(destination: Path, messages: Messages) -> Callable[[Path], None]:
    """Returns a function that writes the report into the folder of a new export, unless the folder has a report.

    An export is complete without its report, so a failure to write the report only causes a warning.

    Args:
      destination: the final path of the export. Its last component is the export's name in the report.
      messages: where to print the warning.
    """

    def finish(folder: Path) -> None:
        if (folder / REPORT_FILE).exists():
            return
        try:
            _write(folder, folder / REPORT_FILE, destination.resolve().name)
        except Exception as error:  # No failure may discard the export, since the report can be written again.
            messages.warn(
                f"the export is complete, but its report cannot be written ({in_one_line(error)}); run "
                f"sid-jax report {typed(destination)} to write it"
            )

    return finish


def _write(folder: Path, out: Path, name: str) -> None:
    # `plots` is imported here, since it imports Bokeh, which takes a second and is needed only to write a report.
    from sid_jax.report.plots import plots

    gathered = gather(folder)
    shown = shown_items(gathered)
    text = _page(name, gathered, verdict(gathered.manifest, gathered.measured), shown, plots(gathered, shown))
    with whole_file(out) as file:
        file.write(text.encode())


def _page(name: str, gathered: Gathered, judged: Verdict, shown: Shown, plots: dict[str, Any]) -> str:
    """Returns the report as a self-contained HTML page, which needs no other file and no network."""
    from bokeh.resources import Resources

    library = "\n".join(Resources(mode="inline", components=["bokeh"], minified=True).js_raw)
    script = "".join((_PARTS / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    scripts = [_safe_script(library), _safe_script(f'"use strict";\n(() => {{\n{script}}})();\n')]
    return Template((_PARTS / "report.html").read_text(encoding="utf-8")).substitute(
        policy=_policy(scripts),
        name=html.escape(name),
        style=(_PARTS / "report.css").read_text(encoding="utf-8"),
        library=scripts[0],
        script=scripts[1],
        grade=judged.grade,
        headline=html.escape(judged.headline),
        summary=html.escape(judged.summary),
        figures="\n".join(map(_tile, judged.figures)),
        remedies=_remedies(judged.figures),
        about=html.escape(_about(gathered)),
        sampled=html.escape(_sampled(gathered, shown)),
        training=html.escape(_training_note(gathered, plots)),
        fidelity=html.escape(_fidelity_note(gathered)),
        buckets=html.escape(_buckets_note(gathered)),
        data=_safe_json(_data(gathered, shown)),
        plots=_safe_json(plots),
        items=shown.packed,
    )


def _data(gathered: Gathered, shown: Shown) -> dict[str, Any]:
    made = gathered.manifest["semantic_ids"]
    return {
        "numItems": gathered.num_items,
        "numShown": shown.num_items,
        "idColumn": gathered.manifest["schema"]["id_column"],
        "titleColumn": shown.title_column,
        "columns": shown.columns,
        "scheme": made["scheme"],
        "length": made["length"],
        "numMoved": round(made["relocated"] * gathered.num_items),
        "colors": [COLORS[number] for number in shown.layout.colors],
        **_groups(gathered, shown),
    }


def _groups(gathered: Gathered, shown: Shown) -> dict[str, Any]:
    """Returns the largest groups of items with the same code tuple, and groups of items with identical vectors."""
    identical = gathered.measured.get("identical")
    same = [(each["size"], each["rows"]) for each in identical["groups"]] if identical else []
    crowded = [(size, rows.tolist()) for size, rows in gathered.tuple_rows]
    wanted = sorted({row for _, rows in (*same, *crowded) for row in rows})
    found: dict[int, list[str]] = {}
    if wanted:
        table, id_column = read_rows(gathered, np.array(wanted)), gathered.manifest["schema"]["id_column"]
        sids = ["-".join(map(str, each)) for each in table["semantic_id"].to_pylist()]
        ids = table[id_column].to_pylist()
        for place, row in enumerate(wanted):
            found[row] = [str(ids[place]), title_of(table, place, shown.title_column, id_column), sids[place]]

    def named(groups: Sequence[tuple[int, list[int]]]) -> list[dict[str, Any]]:
        return [{"size": size, "items": [found[row] for row in rows]} for size, rows in groups]

    return {
        "crowded": named(crowded),
        "identical": named(same) if identical else None,
        "numIdentical": identical["num_items"] if identical else None,
        "numIdenticalGroups": identical["num_groups"] if identical else None,
    }


def _tile(figure: Figure) -> str:
    return (
        f'<li class="tile {figure.grade}"><h3>{html.escape(figure.question)}</h3>'
        f'<p class="value">{html.escape(figure.value)}</p>'
        f'<p class="grade">{_GRADES[figure.grade]}</p><p>{html.escape(figure.beside)}</p></li>'
    )


def _remedies(figures: Sequence[Figure]) -> str:
    watch = [each for each in figures if each.grade in ("fair", "weak")]
    lines = [
        f"<li><strong>{html.escape(each.question)}</strong> {html.escape(each.value)}. To improve: "
        f"{html.escape(each.remedy)}.</li>"
        for each in watch
    ]
    return f'<ul class="remedies">{"".join(lines)}</ul>' if lines else ""


def _about(gathered: Gathered) -> str:
    manifest, metrics = gathered.manifest, gathered.manifest["metrics"]
    sizes = metrics["codebook_size"]
    of = f"{sizes[0]}" if len(set(sizes)) == 1 else ", ".join(map(str, sizes))
    step = "" if manifest.get("step") is None else f", step {manifest['step']:,}"
    return (
        f"{counted(gathered.num_items, 'item')}, {counted(len(sizes), 'level')} of {of} codes; made on "
        f"{manifest['created'][:10]} with sid_jax {manifest['versions']['sid_jax']}{step}"
    )


def _sampled(gathered: Gathered, shown: Shown) -> str:
    if shown.num_items == gathered.num_items:
        return ""
    return (
        f"This report has {shown.num_items:,} of the {gathered.num_items:,} items, a random sample that keeps the file "
        "small. The search, the map and the list of relocated items use the sample; the verdict and all metrics use "
        "all items."
    )


def _fidelity_note(gathered: Gathered) -> str:
    found = gathered.measured.get("fidelity")
    if not found:
        return "Not measured, since the vectors were not available when this export was written."
    sample = (
        "" if found["num_items"] == gathered.num_items else (f", for a random sample of {found['num_items']:,} items")
    )
    if gathered.manifest.get("codebooks", {}).get("product"):
        return (
            f"R² of the vectors decoded from each prefix of the IDs{sample}. It is 1 if the decoded vectors equal "
            "the item vectors, and 0 if they are the mean of all vectors. With product quantization, each code encodes "
            "its own subvector with the same precision. Items with the same prefix therefore agree in some subvectors, "
            "but they may differ in all others."
        )
    return (
        f"R² of the vectors decoded from each prefix of the IDs{sample}. It is 1 if the decoded vectors equal the "
        "item vectors, and 0 if they are the mean of all vectors. The decoder was trained on whole IDs, so it decodes "
        "prefixes less well than possible. The upper bound is the share of the variance that the prefixes explain."
    )


def _training_note(gathered: Gathered, plots: dict[str, Any]) -> str:
    training = gathered.measured.get("training", {})
    if not any(training.values()):
        return "The metrics of the run were not available when this export was written."
    if not any(name in plots for name in ("plot-loss", "plot-quality", "plot-in-use")):
        return "The run was too short for curves: its metrics were written only once or twice."
    steps = max(records["step"][-1] for records in training.values() if records)
    return (
        f"{steps:,} steps. Losses are means over the steps between two points of a curve; the other metrics are "
        "computed over all training items, except that R² may be computed over a random sample of them."
    )


def _buckets_note(gathered: Gathered) -> str:
    share = 1 - gathered.manifest["metrics"]["collision_share"]
    words = f"{percent(share)} of the items have a code tuple that no other item has."
    if gathered.tuples_seen > 1:
        words += f" Bars are estimated from one in {gathered.tuples_seen} code tuples."
    return words


def _policy(scripts: Sequence[str]) -> str:
    """Returns a Content-Security-Policy that allows only these scripts, by their hashes, and no network access."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _safe_script(text: str) -> str:
    """Escapes JavaScript so that it cannot end its script element."""
    return text.replace("\r\n", "\n").replace("</script", r"<\/script").replace("<!--", r"<\!--")


def _safe_json(content: Any) -> str:
    """Serializes JSON so that no text in it can end its script element."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", r"\u003c")
