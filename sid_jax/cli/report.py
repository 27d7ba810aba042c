"""Writes the report of an export: one HTML page on the quality of its IDs. The page needs no network.

Example:
  sid-jax report exports/items
"""

from __future__ import annotations

from absl import flags

from sid_jax import command
from sid_jax.errors import UserError
from sid_jax.paths import as_path, bucket_address

_OUT = flags.DEFINE_string("out", None, "File to write. Default: report.html in the folder of the export.")


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run_with_words(_main, __doc__)


def _main(words: list[str]) -> None:
    if len(words) != 1:
        raise UserError(f"{len(words)} exports are given; give one, as in sid-jax report exports/items")
    command.refuse_empty(_OUT)
    from sid_jax.report.run import REPORT_FILE, write_report

    folder, out = as_path(words[0]), _OUT.value
    if out is None and (address := bucket_address(words[0])) is not None:
        out = f"{address}/{REPORT_FILE}"
    write_report(folder, out)
