"""Writes an export, or Semantic IDs of any origin, in the file format of another tool, atomically."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sid_jax.buckets.outputs import output_folder
from sid_jax.errors import UserError
from sid_jax.export.atomic import atomic_folder, refuse_taken
from sid_jax.formats.content import LEAST_INTERACTIONS, Content
from sid_jax.formats.flashrec import write_flashrec
from sid_jax.formats.grid import write_grid
from sid_jax.formats.inputs import enough_histories, read_table, with_items
from sid_jax.formats.lcrec import write_lcrec
from sid_jax.formats.letter import write_letter
from sid_jax.formats.minionerec import write_minionerec
from sid_jax.formats.nvidia import write_nvidia
from sid_jax.formats.openonerec import write_openonerec
from sid_jax.formats.recbole import write_recbole
from sid_jax.formats.rectokens import write_rectokens
from sid_jax.formats.rpg import write_rpg
from sid_jax.formats.static import write_static
from sid_jax.formats.torch_rechub import write_torch_rechub
from sid_jax.formats.torcheasyrec import write_torcheasyrec
from sid_jax.formats.xllm import write_xllm
from sid_jax.ids.table import IdTable
from sid_jax.messages import Messages
from sid_jax.wording import counted


@dataclasses.dataclass(frozen=True)
class Format:
    """A writer of a tool's files, and the restrictions of these files.

    Attributes:
      write: writes the files into a folder.
      histories: whether the tool's files include histories.
      levels: the number of codes that the tool requires; None if it requires no fixed number.
      shared: whether several items may share an ID.
    """

    write: Callable[[Path, Content], None]
    histories: bool = True
    levels: int | None = None
    shared: bool = False


FORMATS = {
    "minionerec": Format(write_minionerec, levels=3),
    "lcrec": Format(write_lcrec),
    "letter": Format(write_letter, shared=True),
    "grid": Format(write_grid),
    "nvidia": Format(write_nvidia),
    "openonerec": Format(write_openonerec, levels=3, shared=True),
    "recbole": Format(write_recbole, shared=True),
    "rectokens": Format(write_rectokens, histories=False),
    "torch-rechub": Format(write_torch_rechub, shared=True),
    "rpg": Format(write_rpg, shared=True),
    "xllm": Format(write_xllm, histories=False, levels=3, shared=True),
    "flashrec": Format(write_flashrec, histories=False, shared=True),
    "static": Format(write_static, histories=False),
    "torcheasyrec": Format(write_torcheasyrec, histories=False, shared=True),
}


def convert(
    source: str | Path | IdTable,
    to: str,
    out: str | Path,
    *,
    histories: Any = None,
    items: Any = None,
    vocabulary: int = 0,
    on_unknown: str = "error",
    messages: Messages | None = None,
) -> Path:
    """Writes Semantic IDs in another tool's file format.

    Args:
      source: a table, an export's folder, or a file of IDs, see docs/evaluate.md.
      to: one of `FORMATS`.
      out: a new or empty folder. The name of the folder becomes the name of the data set, and a part of file names.
      histories: as for `SemanticIdTokenizer.fit`, or a path. Users with fewer than 3 interactions are dropped.
      items: titles and other columns of items, see `IdTable.with_columns`, or a path to a table of items.
      vocabulary: number of the language model's own tokens, for tools that use token ids.
      on_unknown: what to do with items of histories that are not in the table. "error" rejects them, "drop" drops them.
      messages: where text is printed; None prints nothing.

    Returns:
      The folder.

    Raises:
      UserError: if the tool is unknown, if its files cannot express these IDs, or if an input cannot be used.
    """
    if to not in FORMATS:
        raise UserError(f"there is no format {to!r}; the formats are {', '.join(FORMATS)}")
    form, folder = FORMATS[to], output_folder(out)
    refuse_taken(folder)
    table = source if isinstance(source, IdTable) else read_table(str(source))
    _check(table, to, histories)
    table = table if items is None else with_items(table, items)
    taken, left_out = enough_histories(histories, table, on_unknown)
    messages = messages or Messages.silent()
    content = Content(table, taken, folder.name, folder, vocabulary, messages)
    users = "" if taken is None else f" and the histories of {counted(len(taken), 'user')}"
    messages.line(f"Writing {counted(len(table), 'item')}{users} in the format of {to}")
    with atomic_folder(folder) as partial:
        form.write(partial, content)
    rows = [("items", f"{len(table):,}", f"IDs of {table.semantic_ids.shape[1]} codes")]
    if taken is not None:
        dropped = (
            f"dropped {counted(left_out, 'user')} with fewer than {LEAST_INTERACTIONS} interactions" if left_out else ""
        )
        rows.append(("users", f"{len(taken):,}", dropped))
    messages.closing(f"Written in the format of {to}", rows)
    messages.line(f"The files are in {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    messages.line(f"Next: use these files with {to}; docs/formats.md lists the files")
    return folder


def _check(table: IdTable, to: str, histories: Any) -> None:
    form, levels = FORMATS[to], table.semantic_ids.shape[1]
    if not len(table):
        raise UserError(f"{table.name}: has no items; give at least one")
    if form.levels not in (None, levels):
        raise UserError(
            f"{to} needs IDs of {form.levels} codes, but these IDs have {levels}; make IDs of {form.levels} codes"
        )
    if histories is not None and not form.histories:
        raise UserError(f"{to} has no file of histories; omit --histories")
    if not form.shared:
        try:
            table.replace(shared=False)
        except UserError as error:
            raise UserError(f"{to} needs unique IDs: {error}") from error
