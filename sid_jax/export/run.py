"""Exports a trained run: writes ID table, codebooks and manifest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sid_jax.data.id_lists import some_unknown
from sid_jax.export.artifact import Export, write_export
from sid_jax.export.closing import export_rows, files_of
from sid_jax.export.id_tables import read_id_table
from sid_jax.export.manifest import content_of, semantic_ids_section, training_curves
from sid_jax.export.programs import check_programs
from sid_jax.export.retry import REQUEST, Finish, earlier_request, is_the_same, request_digest
from sid_jax.export.weights import model_hash, model_info
from sid_jax.ids.alternatives import CodeAlternatives
from sid_jax.ids.convert import common_rows
from sid_jax.ids.matching import find_alignment
from sid_jax.ids.reassigned import num_reassigned, words_of_reassigned
from sid_jax.ids.table import IdTable
from sid_jax.ids.unique import extend_ids, make_unique
from sid_jax.messages import Messages
from sid_jax.metrics.codes import max_distinct_rate
from sid_jax.metrics.crowding import crowding_line
from sid_jax.metrics.vectors import report_figures
from sid_jax.training.evaluate import evaluate, r2_of_codes, r2_of_other_codes
from sid_jax.training.restore import TrainedRun, restore_run
from sid_jax.training.sharding import all_devices

# Percentages of the work that are done after the codes and after the unique IDs, as measured with 300,000 items.
_CODES_DONE, _IDS_DONE = 45, 75


def export(
    workdir: Path,
    out: Path,
    *,
    step: int | None = None,
    run: TrainedRun | None = None,
    unique: str | None = None,
    align_to: Path | None = None,
    programs: Collection[str] = (),
    finish: Finish | None = None,
    messages: Messages | None = None,
    nested: bool = False,
) -> None:
    """Writes the export of a trained run (ID table, codebooks, manifest) atomically.

    Args:
      workdir: the run's folder.
      out: destination: a new path or an empty folder. If `out` already has this export, nothing is written.
      step: step of the checkpoint; None takes the best one of a finished run.
      run: the run of the workdir if it is in memory, so that it need not be restored.
      unique: "relocate", "suffix" or "none"; None for the setting of the run's config.
      align_to: IDs of an older model, see `read_id_table`. Codes are renumbered so that few IDs change.
      programs: further formats of the encoder to write; see `sid_jax.export.programs`.
      finish: see `write_export`; also called for an export that already exists.
      messages: where text is printed; standard output if None.
      nested: see `sid_jax.training.quantizer.train`.

    Raises:
      UserError: if the run cannot be restored, or `out` or a program cannot be written.
    """
    messages, programs, earlier = messages or Messages.to_console(), check_programs(programs), earlier_request(out)
    to = None if align_to is None else read_id_table(align_to)
    run = run or restore_run(workdir, step)
    settings = [run.step, unique or run.config.ids.unique, run.config.ids.capacity, to and to.fingerprint()]
    parts = settings, model_hash(run.model), run.data.fingerprint(), pa.table(run.data.columns)
    request = request_digest(*parts, *programs)
    if is_the_same(out, earlier, request, finish, messages):
        return
    messages.line(
        f"Exporting {len(run.data.ids):,} items with the checkpoint of step {run.step:,}: codes, unique IDs, metrics "
        "and files"
    )
    with messages.progress("exporting, %", 100, transient=True) as progress:
        made = make_export(run, unique=unique, align_to=to, about={REQUEST: request}, done=progress.move)
        write_export(made, out, records=workdir, programs=programs, finish=finish)
    show_export(messages, made, out)
    if crowded := crowding_line(made.metrics, made.manifest["semantic_ids"]["relocated"], nested=nested):
        messages.warn(crowded)
    if to is not None:
        messages.warn(words_of_reassigned(made.manifest["renumbered"]))


def show_export(messages: Messages, made: Export, out: Path) -> None:
    """Prints the closing table and the files of an export that was written."""
    number, step = f"{len(made.table):,} Semantic IDs", made.manifest["step"]
    messages.closing(f"{number} of step {step:,}", export_rows(made.manifest))
    messages.line(f"The export is in {out}: {files_of(out)}")


def make_export(
    run: TrainedRun,
    *,
    unique: str | None = None,
    align_to: IdTable | None = None,
    about: Mapping[str, Any] | None = None,
    done: Callable[[int], None] = lambda percent: None,
) -> Export:
    """Returns the export of a run in its current state; nothing is written.

    Args:
      run: the trained run.
      unique: "relocate", "suffix" or "none"; None for the setting of the run's config.
      align_to: IDs of an older model. Codes are renumbered so that few IDs change.
      about: further entries of the manifest.
      done: called with the percentage of the work that is done.

    Raises:
      UserError: if IDs cannot be made unique, or no item of the run is in `align_to`.
    """
    mesh, data = all_devices(), run.data
    done(0)
    most = max_distinct_rate(data.vectors)
    evaluation = evaluate(run.recipe, run.state, data.vectors, most, mesh)
    renumbered = {}
    if align_to is not None:
        mine, theirs = common_rows(data.ids, align_to.item_ids)
        renumbered["renumbered"] = alignment = find_alignment(
            align_to,
            theirs,
            evaluation.codes[mine],
            evaluation.metrics["codebook_size"],
            some_unknown(data.ids, mine),
        )
        run = run.renumbered([np.asarray(order) for order in alignment["orders"]])
        evaluation = evaluate(run.recipe, run.state, data.vectors, most, mesh)
    done(_CODES_DONE)
    codes, sizes = evaluation.codes, evaluation.metrics["codebook_size"]
    scheme, capacity = unique or run.config.ids.unique, run.config.ids.capacity
    semantic_ids = _semantic_ids(run, codes, sizes, scheme, capacity)
    done(_IDS_DONE)
    final_codes = semantic_ids[:, : len(sizes)]
    if scheme == "suffix":
        sizes = [*sizes, int(semantic_ids[:, -1].max()) + 1]
    moved = final_codes != codes
    table = IdTable(
        data.ids,
        semantic_ids.astype(np.int32),
        codes=codes.astype(np.int32),
        sizes=sizes,
        columns=data.columns,
        id_name=data.id_name,
        shared=scheme == "none" or capacity > 1,
        check=False,
    )
    if align_to is not None:
        renumbered["renumbered"]["num_reassigned"] = num_reassigned(align_to, table)
    model, cold, cold_figures = run.model, data.cold, {}
    if cold is not None and cold.sum() >= 2:
        # R^2 of the codes on the cold items, relative to the mean of the cold items.
        cold_figures["r2_cold"] = r2_of_codes(run.recipe, run.state, data.vectors[cold], codes[cold], mesh)
    manifest = {
        "config": run.config.to_dict(),
        "step": run.step,
        **renumbered,
        **(about or {}),
        "data": {
            "source": data.source,
            "fingerprint": data.fingerprint(),
            "num_items": len(data.ids),
            "num_cold": 0 if cold is None else int(cold.sum()),
            "num_left_out": data.left_out.num_rows,
            "num_features": data.vectors.shape[1],
        },
        **({"parts": list(data.about_parts)} if data.about_parts else {}),
        "semantic_ids": semantic_ids_section(scheme, capacity, sizes, moved.any(axis=1).mean(), moved.mean(axis=0)),
        "schema": {"id_column": data.id_name, "columns": list(data.columns)},
        "metrics": {
            **evaluation.metrics,
            "r2_unique": r2_of_other_codes(run.recipe, run.state, data.vectors, final_codes, evaluation, mesh),
            **cold_figures,
        },
        "codebooks": model_info(model),
    }
    measured = report_figures(model, final_codes, data.vectors)
    if run.records:
        measured["training"] = training_curves(run.records)
    return Export(content_of(manifest), table, model, measured=measured)


def _semantic_ids(run: TrainedRun, codes: np.ndarray, sizes: list[int], scheme: str, capacity: int) -> np.ndarray:
    """Returns the Semantic IDs. Cold items get free IDs after all other items, as in an append."""

    def alternatives(rows: np.ndarray) -> CodeAlternatives:
        return CodeAlternatives.of_vectors(run.model, run.data.vectors if rows.all() else run.data.vectors[rows])

    new = np.zeros(len(codes), bool) if run.data.cold is None else run.data.cold
    first = make_unique(scheme, codes[~new], run.data.ids[~new], sizes, alternatives(~new), capacity=capacity)
    if not new.any():
        return first
    semantic_ids = np.empty((len(codes), first.shape[1]), first.dtype)
    semantic_ids[~new] = first
    semantic_ids[new] = extend_ids(
        scheme, codes[new], run.data.ids[new], sizes, alternatives(new), first, capacity=capacity
    )
    return semantic_ids
