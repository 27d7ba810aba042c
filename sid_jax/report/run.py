"""From an export's folder to its report."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from sid_jax.errors import UserError
from sid_jax.report.gather import gather
from sid_jax.report.page import page
from sid_jax.report.plots import plots
from sid_jax.report.shown import shown_items
from sid_jax.report.verdict import verdict

REPORT_FILE = "report.html"


def write_report(folder: Path, out: Path | None = None, *, console: Console | None = None) -> Path:
    """Writes the report of an export; a page that is there is replaced in one step.

    Args:
      folder: as `export.py --out` wrote it.
      out: the page; None for `report.html` in the folder.
      console: where to say so; standard output if None.

    Returns:
      The page's path.

    Raises:
      UserError: if the folder is no finished export, or the page cannot be written.
    """
    out = out or folder / REPORT_FILE
    gathered = gather(folder)
    shown = shown_items(gathered)
    text = page(gathered, verdict(gathered.manifest, gathered.measured), shown, plots(gathered, shown))
    partial = out.with_name(f".{out.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"cannot write {out}: {error.strerror}; name another page with --out") from error
    (console or Console()).print(f"The report is {out}", markup=False, highlight=False, soft_wrap=True)
    return out
