"""From one version of a catalog to the next: new items get free IDs, and no published ID ever moves."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.append.batch import Batch, as_kind, batch_of_arrays, batch_of_files, ids_of_kind
from sid_jax.append.drift import drift_of, in_words
from sid_jax.append.published import REMOVED_IN, Published, raw_codes, read_published
from sid_jax.append.version import next_version
from sid_jax.bulk.run import list_inputs
from sid_jax.data.id_lists import read_lines
from sid_jax.data.parts.vector_parts import VectorParts
from sid_jax.data.vector_set import LeftOut
from sid_jax.errors import UserError
from sid_jax.export.artifact import Export, write_files
from sid_jax.export.atomic import atomic_folder, refuse_taken
from sid_jax.export.manifest import content_of, semantic_ids_section
from sid_jax.export.weights import model_hash, model_info
from sid_jax.ids.convert import arrow_ids
from sid_jax.messages import Messages
from sid_jax.metrics.codes import code_figures
from sid_jax.training.restore import restore_model


def append_items(
    export: Export,
    item_ids: Any,
    vectors: Any,
    *,
    columns: Any = None,
    remove: Collection[int | str] = (),
    reuse_removed: bool = False,
) -> Export:
    """Returns the next version of an export; nothing is written.

    Every item that was published and is not removed keeps its Semantic ID. New items get codes from the export's own
    model, and IDs that are free by its scheme. An item that is removed has its ID to come back to: it is no other
    item's unless asked for. The version is a function of the export and the items, whatever their order.

    Args:
      export: the version before.
      item_ids: `[n]` integers or text, no two alike; items that the export has already keep their rows.
      vectors: `[n, D]` real numbers, or a mapping, as of `Export.encode`.
      columns: what else is known of them, `[n]` each: an Arrow table, a DataFrame or a mapping; None for none. Columns
        that the export does not have are left out, and those missing here are null.
      remove: ids of items that leave.
      reuse_removed: whether IDs of items that have left may be given to others.

    Raises:
      UserError: if the export does not say how its IDs were made, if shapes do not fit or a vector is not finite, if an
        item that is to leave is not there or is among the new ones, or if there are not enough free IDs.
    """
    published = Published(export)
    batch = batch_of_arrays(item_ids, export.join_parts(vectors), columns, export.model, published.kind)
    leaving = ids_of_kind(remove if isinstance(remove, str) else list(remove), published.kind, "remove")
    data = {"source": "memory", "num_left_out": 0}
    return _next_export(published, batch, leaving, "remove", data, reuse_removed=reuse_removed)


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
    messages: Messages | None = None,
) -> None:
    """Writes the next version of an export, all or nothing; the export itself is only read.

    It is the version that `append_items` gives, of items in files, whose vectors need not fit into memory.

    Args:
      export: a folder that `export.py` wrote.
      out: where to; it must not exist, or be empty.
      inputs, ids_paths: files of new vectors, as of `sid_jax.bulk.run.export_files`; none at all where items are
        removed only. Items that the export has already keep their rows.
      removed: a text file with the ids of items that leave, one a line.
      reuse_removed: whether IDs of items that have left may be given to others.
      workdir: the run that the export was made from, which is compared with it; the export suffices without.
      step: of its checkpoint; None for the export's.
      unique: the scheme, if it is to be compared with the export's.
      on_bad_rows: as of `sid_jax.data.vector_files.treat_bad_rows`; None for what the export's config says.
      messages: where to say what was done; standard output if None.

    Raises:
      UserError: if the export is damaged or of another model or scheme, if an input cannot be used, if there are not
        enough free IDs, or `out` cannot be written.
    """
    messages = messages or Messages.to_console()
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
    parts: VectorParts | None = None
    left_out, model = LeftOut(), published.export.model
    if inputs:
        settings = published.export.manifest["config"].get("data", {})
        parts, left_out = list_inputs(settings, model, inputs, ids_paths, on_bad_rows, need_ids=True)
    if left_out.num_rows:
        messages.line(str(left_out))
    lines = [line.rstrip("\r") for line in read_lines(removed)] if removed else []
    leaving = as_kind(arrow_ids(lines), published.kind, str(removed))
    with atomic_folder(out) as folder:
        scratch = folder / "scratch"
        scratch.mkdir()
        batch = batch_of_files(parts, model, published.kind, scratch)
        data = {"source": ", ".join(inputs), "num_left_out": left_out.num_rows}
        made = _next_export(published, batch, leaving, str(removed), data, reuse_removed=reuse_removed)
        shutil.rmtree(scratch)
        write_files(made, folder)
    _say(messages, export, made, out)


def _next_export(
    published: Published,
    batch: Batch,
    leaving: pa.ChunkedArray,
    where: str,
    data: dict[str, Any],
    *,
    reuse_removed: bool,
) -> Export:
    """Returns the version after a published one; `data` is what the manifest says of the input."""
    leaving = pa.chunked_array([pc.unique(leaving)], published.kind)
    version = next_version(published, batch, leaving, where, reuse_removed=reuse_removed)
    before, items, codes = published.export, version.items, raw_codes(version.items)
    moved, sizes = items.semantic_ids[:, : codes.shape[1]] != codes, before.model.quantizer.codebook_sizes
    manifest = {
        "config": before.manifest["config"],
        "step": before.manifest.get("step"),
        **{name: content for name, content in before.manifest.items() if name in ("renumbered", "parts")},
        "version": {"number": published.number + 1, "parent": published.lineage(), **version.counts},
        "data": {**data, "num_items": len(items), "num_features": before.model.mean.shape[0]},
        "semantic_ids": semantic_ids_section(
            published.scheme, published.capacity, items.sizes, moved.any(axis=1).mean(), moved.mean(axis=0)
        ),
        "schema": before.manifest["schema"],
        # All but the figures that need the published items' vectors.
        "metrics": {"num_items": len(codes), "codebook_size": list(sizes), **code_figures(codes, sizes)},
        "drift": drift_of(published, version),
        "codebooks": model_info(before.model),
    }
    removed_in = pa.array(version.removed_in.astype(np.int32))
    known = {name: version.retired.columns[name] for name in version.retired.columns.column_names}
    return Export(
        content_of(manifest),
        items,
        before.model,
        retired=version.retired.replace(columns=pa.table({**known, REMOVED_IN: removed_in}), check=False),
        measured={name: before.measured[name] for name in ("training",) if name in before.measured},
        rows_a_file=before.rows_a_file,
    )


def _refuse_other_model(published: Published, workdir: Path, step: int | None) -> None:
    """Raises UserError unless a run's model, at the export's step or another one, is the export's to the last bit."""
    wanted = published.export.manifest.get("step") if step is None else step
    _, model, step = restore_model(workdir, wanted)
    if "renumbered" in published.export.manifest:
        model.quantizer.renumber([np.asarray(order) for order in published.export.manifest["renumbered"]["orders"]])
    found, published_hash = model_hash(model), model_hash(published.export.model)
    if found != published_hash:
        raise UserError(
            f"the model of {workdir} at step {step} (SHA-256 {found[:12]}) is not the one that "
            f"{published.export.folder} was made by ({published_hash[:12]}): its codes would mean something else; "
            "leave --workdir out, since the export has its own model, or name the run and --step that it came from"
        )


def _say(messages: Messages, export: Path, made: Export, out: Path) -> None:
    counts = made.manifest["version"]
    for line in (
        f"Version {counts['number']} of {export} is in {out}: {len(made.table):,} Semantic IDs",
        f"{counts['kept']:,} kept ({counts['already_there']:,} of them in the input too), {counts['added']:,} added, "
        f"{counts['removed']:,} removed, {counts['returned']:,} returned; {counts['moved']:,} published IDs moved; "
        f"{counts['retired']:,} IDs are kept for items that left",
        *in_words(made.manifest["drift"]),
    ):
        messages.line(line)
