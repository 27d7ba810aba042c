"""Makes the next version of a catalog: new items get free IDs, and published IDs change only on request."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.append.batch import Batch, as_kind, batch_of_arrays, batch_of_files, ids_of_kind
from sid_jax.append.drift import drift_of
from sid_jax.append.published import MOVED_IN, REMOVED_IN, Published, raw_codes, read_published
from sid_jax.append.version import Policy, next_version
from sid_jax.append.words import of_returned, show_version
from sid_jax.bulk.run import list_inputs
from sid_jax.data.id_lists import read_id_list
from sid_jax.data.parts.vector_parts import VectorParts
from sid_jax.data.vector_set import LeftOut
from sid_jax.errors import UserError
from sid_jax.export.artifact import Export, write_files
from sid_jax.export.atomic import partial_folder, publish
from sid_jax.export.manifest import content_of, semantic_ids_section
from sid_jax.export.programs import check_programs
from sid_jax.export.retry import REQUEST, Finish, earlier_request, is_the_same, request_digest
from sid_jax.export.weights import model_hash, model_info
from sid_jax.ids.convert import arrow_ids
from sid_jax.ids.table import IdTable
from sid_jax.messages import LOGGER, Messages
from sid_jax.metrics.codes import code_figures

_ROWS = 2**16


def append_items(
    export: Export,
    item_ids: Any,
    vectors: Any,
    *,
    columns: Any = None,
    remove: Collection[int | str] = (),
    reuse_removed: bool = False,
    on_known: str = "keep",
    on_returned: str = "accept",
    on_unknown: str = "error",
    on_bad_rows: str | None = None,
) -> Export:
    """Returns the next version of an export. Nothing is written.

    Every published item that is not removed keeps its Semantic ID, unless `on_known` is "move". New items get codes
    from the export's own model, and free IDs by the export's scheme. The ID of a removed item stays reserved for this
    item, unless `reuse_removed` is set. The result does not depend on the order of the items.

    Args:
      export: the previous version.
      item_ids: `[n]` distinct integers or strings; may include items that the export already has.
      vectors: `[n, D]` real numbers, or a mapping; see `Export.encode`.
      columns: further columns of the items, `[n]` each, as an Arrow table, a DataFrame or a mapping; optional. Columns
        that the export lacks are ignored. A column of the export that `columns` lacks is null for new items. For items
        that the export already has, values that are not null replace the old values.
      remove: ids of the items to remove.
      reuse_removed, on_known, on_returned, on_unknown: see `sid_jax.append.version.Policy`.
      on_bad_rows: "error" rejects items whose vectors are not finite, "drop" drops them with a warning that states
        their number; None for the setting of the export's config.

    Raises:
      UserError: if the export does not state how its IDs were made unique; if shapes do not match; if a vector is not
        finite, unless `on_bad_rows` drops it; if a published item is both to be removed and among the given items; if
        `on_known`, `on_returned` or `on_unknown` rejects an item; or if there are not enough free IDs.
    """
    policy = Policy(reuse_removed, on_known, on_returned, on_unknown)
    published = Published(export)
    how = on_bad_rows or export.manifest["config"].get("data", {}).get("on_bad_rows", "error")
    joined = export.join_parts(vectors)
    batch, left_out = batch_of_arrays(item_ids, joined, columns, export.model, published.ids, how)
    if left_out.num_rows:
        LOGGER.warning("%s", left_out)
    leaving = ids_of_kind(remove if isinstance(remove, str) else list(remove), published.ids, "remove")
    data = {"source": "memory", "num_left_out": left_out.num_rows}
    request = _request(published, batch, leaving, policy)
    made = _next_export(published, batch, leaving, "remove", data, policy, request)
    if made.manifest["version"]["returned"]:
        LOGGER.warning("%s", of_returned(published, made, 'on_returned="error"'))
    return made


def append(
    export: Path,
    out: Path,
    inputs: Sequence[str] = (),
    *,
    ids_paths: Sequence[str] = (),
    removed: Path | None = None,
    reuse_removed: bool = False,
    on_known: str = "keep",
    on_returned: str = "accept",
    on_unknown: str = "error",
    workdir: Path | None = None,
    step: int | None = None,
    unique: str | None = None,
    on_bad_rows: str | None = None,
    programs: Collection[str] = (),
    finish: Finish | None = None,
    messages: Messages | None = None,
) -> None:
    """Writes the next version of an export atomically. The export itself is only read.

    `append_items` makes the same version from items in memory. Here, the items are in files, and their vectors need not
    fit into memory.

    Args:
      export: a folder that `sid-jax export` wrote.
      out: the destination, a new path or an empty folder. A folder that already has this version is also accepted,
        and the version is not written again.
      inputs, ids_paths: files of new vectors, see `sid_jax.bulk.run.export_files`; none if items are only removed. The
        files may have no rows.
      removed: a text file with the ids of the items to remove, one per line; may be empty.
      reuse_removed, on_known, on_returned, on_unknown: see `sid_jax.append.version.Policy`.
      workdir: the run that the export was made from; optional. It is only used to check that the run's model is the
        export's model.
      step: step of the run's checkpoint; None for the export's step.
      unique: how IDs are made unique; optional. It is only used to check that the export has the same scheme.
      on_bad_rows: see `sid_jax.data.vector_files.treat_bad_rows`; None for the setting of the export's config.
      programs: further formats of the encoder to write, besides those of the export; see `sid_jax.export.programs`.
      finish: see `sid_jax.export.artifact.write_export`; also called for a version that already exists.
      messages: where text is printed; standard output if None.

    Raises:
      UserError: if the export is damaged or has another model or scheme, if an input cannot be used, if there are not
        enough free IDs, or if `out` or one of the `programs` cannot be written.
    """
    messages, policy = messages or Messages.to_console(), Policy(reuse_removed, on_known, on_returned, on_unknown)
    earlier = earlier_request(out)
    if Path(export).resolve() in Path(out).resolve().parents:
        raise UserError(f"{out} is inside the export {export}, which is only read; choose a folder outside it")
    if not inputs and removed is None:
        raise UserError("--append_to needs new items (--input=FILES) or items to remove (--remove=FILE)")
    published = read_published(export)
    had = published.export.programs
    programs = check_programs({*had, *programs})
    if unique not in (None, published.scheme):
        raise UserError(
            f"{export} makes IDs unique by {published.scheme!r}, and {unique!r} would mix two schemes in one table; "
            "omit --unique, or make a new export of all items"
        )
    if workdir is not None:
        _refuse_other_model(published, workdir, step)
    parts: VectorParts | None = None
    left_out, model = LeftOut(), published.export.model
    if inputs:
        settings = published.export.manifest["config"].get("data", {})
        parts, left_out = list_inputs(settings, model, inputs, ids_paths, on_bad_rows, for_append=True)
    if left_out.num_rows:
        messages.warn(str(left_out))
    lines = read_id_list(removed, allow_empty=True) if removed else []
    leaving = as_kind(arrow_ids(lines), published.ids, str(removed))
    with partial_folder(out) as folder:
        scratch = folder / "scratch"
        scratch.mkdir()
        batch = batch_of_files(parts, model, published.ids, scratch)
        request = _request(published, batch, leaving, policy, [name for name in programs if name not in had])
        if is_the_same(out, earlier, request, finish, messages):
            return
        data = {"source": ", ".join(inputs), "num_left_out": left_out.num_rows}
        made = _next_export(published, batch, leaving, str(removed), data, policy, request)
        shutil.rmtree(scratch)
        write_files(made, folder, programs=programs)
        if finish is not None:
            finish(folder)
        publish(folder, out)
    show_version(messages, published, made, export, out)


def _request(
    published: Published, batch: Batch, leaving: pa.ChunkedArray, policy: Policy, programs: Sequence[str] = ()
) -> str:
    """Returns the digest of everything that determines the version. The order of rows and files has no effect."""
    parent = published.lineage()["manifest_sha256"] or published.export.table.fingerprint()
    blocks = (batch.vectors[np.arange(first, min(first + _ROWS, len(batch)))] for first in range(0, len(batch), _ROWS))
    vectors = [hashlib.sha256(block.astype("<f4").tobytes()).hexdigest() for block in blocks]
    columns = batch.columns(published.items.columns.schema)
    left = pc.unique(leaving) if len(leaving) else leaving
    gone = pa.chunked_array([pc.take(left, pc.sort_indices(left))], published.kind) if len(leaving) else leaving
    return request_digest(parent, dataclasses.asdict(policy), batch.ids, vectors, columns, gone, *programs)


def _next_export(
    published: Published,
    batch: Batch,
    leaving: pa.ChunkedArray,
    where: str,
    data: dict[str, Any],
    policy: Policy,
    request: str,
) -> Export:
    """Returns the version that follows a published version; `data` is the manifest's section on the input."""
    leaving = pa.chunked_array([pc.unique(leaving)], published.kind)
    version = next_version(published, batch, leaving, where, policy)
    before, items, codes = published.export, version.items, raw_codes(version.items)
    moved, sizes = items.semantic_ids[:, : codes.shape[1]] != codes, before.model.quantizer.codebook_sizes
    manifest = {
        "config": before.manifest["config"],
        "step": before.manifest.get("step"),
        **{name: content for name, content in before.manifest.items() if name in ("renumbered", "parts")},
        "version": {"number": published.number + 1, "parent": published.lineage(), **version.counts},
        REQUEST: request,
        "data": {**data, "num_items": len(items), "num_features": before.model.mean.shape[0]},
        "semantic_ids": semantic_ids_section(
            published.scheme, published.capacity, items.sizes, moved.any(axis=1).mean(), moved.mean(axis=0)
        ),
        "schema": before.manifest["schema"],
        # All metrics except those that need the vectors of published items.
        "metrics": {"num_items": len(codes), "codebook_size": list(sizes), **code_figures(codes, sizes)},
        "drift": drift_of(published, version),
        "codebooks": model_info(before.model),
    }
    return Export(
        content_of(manifest),
        items,
        before.model,
        retired=_with_versions(version.retired, REMOVED_IN, version.removed_in),
        former=_with_versions(version.former, MOVED_IN, version.moved_in) if len(version.former) else None,
        measured={name: before.measured[name] for name in ("training",) if name in before.measured},
        rows_a_file=before.rows_a_file,
        programs=before.programs,
    )


def _with_versions(table: IdTable, name: str, versions: np.ndarray) -> IdTable:
    known = {name: table.columns[name] for name in table.columns.column_names}
    return table.replace(columns=pa.table({**known, name: pa.array(versions.astype(np.int32))}), check=False)


def _refuse_other_model(published: Published, workdir: Path, step: int | None) -> None:
    """Raises UserError if a run's model at `step`, or by default at the export's step, is not the export's model."""
    # Only this check needs `sid_jax.training`.
    from sid_jax.training.restore import restore_model

    wanted = published.export.manifest.get("step") if step is None else step
    _, model, step = restore_model(workdir, wanted)
    if "renumbered" in published.export.manifest:
        model.quantizer.renumber([np.asarray(order) for order in published.export.manifest["renumbered"]["orders"]])
    found, published_hash = model_hash(model), model_hash(published.export.model)
    if found != published_hash:
        raise UserError(
            f"the model of {workdir} at step {step} (SHA-256 {found[:12]}) is not the model of "
            f"{published.export.folder} ({published_hash[:12]}), so its codes would have another meaning; omit "
            "--workdir, since the export has its own model, or give the run and --step of the export"
        )
