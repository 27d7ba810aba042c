"""From one version of a catalog to the next: new items get free IDs, and no published ID ever moves."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sid_jax.append.batch import read_batch
from sid_jax.append.drift import drift_of, in_words, metrics_of
from sid_jax.append.published import Published, read_published, write_retired
from sid_jax.append.version import Version, membership, next_version, read_removed
from sid_jax.bulk.run import refuse_wrong_inputs
from sid_jax.data.bad_rows import treat_bad_rows
from sid_jax.data.parts.vector_parts import VectorParts, list_parts
from sid_jax.data.vector_set import LeftOut
from sid_jax.errors import UserError
from sid_jax.export.artifact import Export, write_files
from sid_jax.export.atomic import atomic_folder, refuse_taken
from sid_jax.export.manifest import semantic_ids_section
from sid_jax.export.measured import read_measured
from sid_jax.export.tables import ROWS_A_FILE
from sid_jax.export.weights import model_hash
from sid_jax.training.restore import restore_model


def append(
    export: Path,
    out: Path,
    inputs: Sequence[str] = (),
    *,
    ids_paths: Sequence[str] = (),
    removed: Path | None = None,
    reuse_removed: bool = False,
    workdir: Path | None = None,
    step: int | None = None,
    unique: str | None = None,
    on_bad_rows: str | None = None,
    console: Console | None = None,
) -> None:
    """Writes the next version of an export, all or nothing; the export itself is only read.

    Everybody who was published and is not removed keeps the ID. New items get codes from the export's own model, and
    IDs that are free by its scheme. Who was removed has the ID to come back to: it is nobody else's unless asked for.
    The version is a function of the export and the files' items, whatever the order of these.

    Args:
      export: a folder that `export.py` wrote.
      out: where to; it must not exist, or be empty.
      inputs: files, folders or patterns of new vectors, as of `sid_jax.data.parts.vector_parts.list_parts`; none at all
        where items are removed only. Items that the export has already keep their rows.
      ids_paths: for files without ids of their own, a file with ids each.
      removed: a text file with the ids of items that leave, one a line.
      reuse_removed: whether IDs of items that have left may be given to others.
      workdir: the run that the export was made from, which is compared with it; the export suffices without.
      step: of its checkpoint; None for the export's.
      unique: the scheme, if it is to be compared with the export's.
      on_bad_rows: as of `sid_jax.data.bad_rows.treat_bad_rows`; None for what the export's config says.
      console: where to print; standard output if None.

    Raises:
      UserError: if the export is damaged or of another model or scheme, if an input cannot be used, if there are not
        enough free IDs, or `out` cannot be written.
    """
    console = console or Console()
    refuse_taken(out)
    if not inputs and removed is None:
        raise UserError("--append_to needs new items, --input=FILES, or items that leave, --remove=FILE")
    published = read_published(export)
    if unique not in (None, published.scheme):
        raise UserError(
            f"{export} makes IDs unique by {published.scheme!r}: to append by {unique!r} would mix IDs of two kinds; "
            "leave --unique out, or export all items anew"
        )
    if workdir is not None:
        _refuse_other_model(published, workdir, step)
    parts, left_out = _list_inputs(published, inputs, ids_paths, on_bad_rows)
    if left_out.num_rows:
        console.print(str(left_out), markup=False, highlight=False, soft_wrap=True)
    kind = published.items.ids.type
    leaving = read_removed(removed, kind)
    with atomic_folder(out) as folder:
        scratch = folder / "scratch"
        scratch.mkdir()
        batch = read_batch(parts, published.model, kind, scratch)
        who = membership(published.items.ids, published.retired.ids, batch.ids, leaving, str(removed))
        version = next_version(published, batch, who, reuse_removed=reuse_removed)
        drift = drift_of(published, batch.rows(np.flatnonzero(who.added)), version)
        shutil.rmtree(scratch)
        data = {"source": ", ".join(inputs), "num_left_out": left_out.num_rows}
        _write(folder, published, version, drift, data)
    _say(console, published, version, drift, out)


def _refuse_other_model(published: Published, workdir: Path, step: int | None) -> None:
    """Raises UserError unless a run's model, at the export's step or another one, is the export's to the last bit."""
    wanted = published.manifest.get("step") if step is None else step
    _, model, step = restore_model(workdir, wanted)
    if "renumbered" in published.manifest:
        model.quantizer.renumber([np.asarray(order) for order in published.manifest["renumbered"]["orders"]])
    found, published_hash = model_hash(model), model_hash(published.model)
    if found != published_hash:
        raise UserError(
            f"the model of {workdir} at step {step} (SHA-256 {found[:12]}) is not the one that {published.folder} was "
            f"made by ({published_hash[:12]}): its codes would mean something else; leave --workdir out, since the "
            "export has its own model, or name the run and --step that it came from"
        )


def _list_inputs(
    published: Published, inputs: Sequence[str], ids_paths: Sequence[str], on_bad_rows: str | None
) -> tuple[VectorParts | None, LeftOut]:
    if not inputs:
        return None, LeftOut()
    data = published.manifest["config"].get("data", {})
    names = {name: data[name] for name in ("id_column", "vector_column") if name in data}
    parts = list_parts(inputs, **names, ids_paths=ids_paths)
    if parts.ids_are_row_numbers:
        raise UserError(
            f"{parts.parts[0].path}: has no ids, and row numbers would be those of other items; name a file with one "
            "id a line by --input_ids"
        )
    histories = data.get("histories", {}).get("source", "none") != "none"
    refuse_wrong_inputs(published.model, parts, bool(histories and data.get("collaborative_weight")))
    return treat_bad_rows(parts, on_bad_rows or data.get("on_bad_rows", "error"))


def _write(folder: Path, published: Published, version: Version, drift: dict[str, Any], data: dict[str, Any]) -> None:
    old, items = published.manifest, version.items
    moved = items.semantic_ids[:, : items.codes.shape[1]] != items.codes
    write_retired(folder, version.retired, version.removed_in, published.id_name, version.sizes)
    manifest = {
        "config": old["config"],
        "step": old.get("step"),
        **{name: old[name] for name in ("renumbered",) if name in old},
        "version": {
            "number": published.version + 1,
            "parent": {"name": published.folder.resolve().name, "manifest_sha256": published.manifest_hash},
            **version.counts,
        },
        "data": {**data, "num_items": len(items), "num_features": published.model.mean.shape[0]},
        "semantic_ids": semantic_ids_section(
            published.scheme, published.capacity, version.sizes, moved.any(axis=1).mean(), moved.mean(axis=0)
        ),
        "schema": old["schema"],
        "metrics": metrics_of(items, published.model.quantizer.codebook_sizes),
        "drift": drift,
    }
    table = items.table(published.id_name, version.sizes)
    measured = read_measured(published.folder)
    version_made = Export(
        manifest,
        table,
        published.model,
        measured={"training": measured["training"]} if "training" in measured else {},
        rows_a_file=ROWS_A_FILE if published.sharded else None,
    )
    write_files(version_made, folder)


def _say(console: Console, published: Published, version: Version, drift: dict[str, Any], out: Path) -> None:
    counts = version.counts
    lines = [
        f"Version {published.version + 1} of {published.folder} is in {out}: {len(version.items):,} Semantic IDs",
        f"{counts['kept']:,} kept ({counts['already_there']:,} of them in the input too), {counts['added']:,} added, "
        f"{counts['removed']:,} removed, {counts['returned']:,} returned; {counts['moved']:,} published IDs moved; "
        f"{counts['retired']:,} IDs are kept for items that left",
        *in_words(drift),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
