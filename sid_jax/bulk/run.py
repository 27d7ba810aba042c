"""Bulk export: encodes vectors in files of any size and writes the export, in stages that need little memory."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.bulk.encode import encode_part
from sid_jax.bulk.engine import Engine, LocalEngine, Stage
from sid_jax.bulk.groups import count_group, gather_part, make_groups
from sid_jax.bulk.ids import id_ranges, refuse_repeated_ids, repeated_hashes
from sid_jax.bulk.job import Job
from sid_jax.bulk.place import admit_leaving, all_moves, place_group, write_part
from sid_jax.data.catalogs.vectors import column_names
from sid_jax.data.id_lists import some_unknown
from sid_jax.data.part_columns import schema_of_parts
from sid_jax.data.parts.part import identity
from sid_jax.data.parts.vector_parts import VectorParts, list_parts
from sid_jax.data.vector_files import treat_bad_rows
from sid_jax.data.vector_set import LeftOut
from sid_jax.errors import UserError
from sid_jax.export.artifact import table_files
from sid_jax.export.atomic import atomic_folder
from sid_jax.export.closing import export_rows, files_of
from sid_jax.export.encoder import ITEMS_A_CALL, encode_vectors
from sid_jax.export.id_tables import read_id_table
from sid_jax.export.manifest import semantic_ids_section, write_manifest, write_measured
from sid_jax.export.programs import check_programs
from sid_jax.export.retry import REQUEST, Finish, earlier_request, is_the_same, request_digest
from sid_jax.export.weights import model_hash, model_info, write_model
from sid_jax.ids.convert import common_rows
from sid_jax.ids.matching import find_alignment
from sid_jax.ids.reassigned import num_reassigned_of_blocks, words_of_reassigned
from sid_jax.ids.relocate import refuse_too_many
from sid_jax.ids.table import IdTable
from sid_jax.messages import Messages
from sid_jax.metrics.codes import figures_of_counts
from sid_jax.metrics.crowding import crowding_line
from sid_jax.metrics.vectors import r2_of_moments
from sid_jax.models.rqvae import RQVAE

# Minimum number of items that are decoded to measure R^2; smaller catalogs are decoded completely.
_SAMPLED_ITEMS = 2**16


def export_files(
    workdir: Path,
    out: Path,
    inputs: Sequence[str],
    *,
    ids_paths: Sequence[str] = (),
    step: int | None = None,
    unique: str | None = None,
    align_to: Path | None = None,
    on_bad_rows: str | None = None,
    programs: Collection[str] = (),
    engine: Engine | None = None,
    finish: Finish | None = None,
    messages: Messages | None = None,
) -> None:
    """Encodes the vectors in files with a run's model, and writes the export atomically.

    The IDs are the same as with `sid_jax.export.run.export`. Arrays with an entry per item are kept in files in the
    export's folder, so memory does not grow with the number of items. With `align_to`, the old table and the codes of
    its items are in memory.

    Args:
      workdir: the run's folder; the run's own data is not read.
      out: the destination, a new path or an empty folder. If it already has this export, only `finish` is called.
      inputs: files, folders or patterns, see `sid_jax.data.parts.vector_parts.list_parts`.
      ids_paths: for each file of vectors without ids, a file with one id per row.
      step: step of the checkpoint; None takes the best one of a finished run.
      unique: "relocate", "suffix" or "none"; None for the setting of the run's config.
      align_to: IDs of an older model, see `read_id_table`. Codes are renumbered so that few IDs change.
      on_bad_rows: see `sid_jax.data.vector_files.treat_bad_rows`; None for the setting of the run's config.
      programs: further formats of the encoder to write; see `sid_jax.export.programs`.
      engine: runs the stages; None runs them in this process.
      finish: see `sid_jax.export.artifact.write_export`; also called for an export that already exists.
      messages: where text is printed; standard output if None.

    Raises:
      UserError: if the run cannot be restored, the files cannot be used, or `out` or one of the `programs` cannot be
        written.
    """
    # The import is here, since an append imports this module too, but does not need `sid_jax.training`.
    from sid_jax.training.restore import restore_model

    messages, programs, earlier = messages or Messages.to_console(), check_programs(programs), earlier_request(out)
    to = None if align_to is None else read_id_table(align_to)
    config, model, step = restore_model(workdir, step)
    parts, left_out = list_inputs(config.data.to_dict(), model, inputs, ids_paths, on_bad_rows)
    sizes, scheme, capacity = model.quantizer.codebook_sizes, unique or config.ids.unique, config.ids.capacity
    if left_out.num_rows:
        messages.warn(str(left_out))
    names = column_names(config.data.columns)
    columns = schema_of_parts(parts, names)
    if missing := [name for name in names if name not in columns.names]:
        messages.warn(
            f"no file has these columns of config.data.columns: {', '.join(missing)}; the ID table will lack them"
        )
    written = [config.data.id_column, *columns.names]
    settings = [step, scheme, capacity, written, to and to.fingerprint(), _about_files(parts)]
    request = request_digest(settings, model_hash(model), *programs)
    if is_the_same(out, earlier, request, finish, messages):
        return
    if scheme == "relocate":
        refuse_too_many(parts.num_items, sizes, capacity)
    alignment = None if to is None else _align_parts(to, parts, model)
    if alignment is not None:
        model.quantizer.renumber([np.asarray(order) for order in alignment["orders"]])
    with atomic_folder(out) as folder:
        write_model(folder, model, programs)
        sample_every = max(1, parts.num_items // _SAMPLED_ITEMS)
        job = Job(folder, parts, sizes, scheme, capacity, config.data.id_column, sample_every, columns)
        made = run_stages(job, engine or LocalEngine(), messages)
        shutil.rmtree(job.scratch)
        write_measured(folder, {}, workdir)
        if to is not None and alignment is not None:
            alignment["num_reassigned"] = num_reassigned_of_blocks(to, _written_ids(folder, job.id_name))
        manifest = {
            "config": config.to_dict(),
            "step": step,
            **({} if alignment is None else {"renumbered": alignment}),
            REQUEST: request,
            "data": {
                "source": ", ".join(inputs),
                "num_items": parts.num_items,
                "num_left_out": left_out.num_rows,
                "num_features": parts.num_features,
            },
            **made,
            "schema": {"id_column": job.id_name, "columns": columns.names},
            "codebooks": model_info(model),
        }
        write_manifest(folder, manifest)
        if finish is not None:
            finish(folder)
    messages.closing(f"{parts.num_items:,} Semantic IDs of step {step:,}", export_rows(made))
    messages.line(f"The export is in {out}: {files_of(out)}")
    if crowded := crowding_line(made["metrics"], made["semantic_ids"]["relocated"]):
        messages.warn(crowded)
    if alignment is not None:
        messages.warn(words_of_reassigned(alignment))


def _about_files(parts: VectorParts) -> list[Any]:
    """Returns values that identify the vectors: names, sizes and times of the files, vector column, excluded rows."""
    paths = sorted({path for part in parts.parts for path in (part.path, part.ids_path) if path})
    return [
        list(map(identity, paths)),
        parts.columns.vector_column,
        [[part.first_item, *part.left_out] for part in parts.parts],
    ]


def _written_ids(folder: Path, id_name: str) -> Iterator[tuple[pa.ChunkedArray, np.ndarray]]:
    """Yields item ids and Semantic IDs, file by file."""
    for path in table_files(folder):
        table = pq.read_table(path, columns=[id_name, "semantic_id"])
        yield table[id_name], np.stack(table["semantic_id"].to_numpy()).astype(np.int32)


def list_inputs(
    data: Mapping[str, Any],
    model: RQVAE,
    inputs: Sequence[str],
    ids_paths: Sequence[str],
    on_bad_rows: str | None,
    *,
    for_append: bool = False,
) -> tuple[VectorParts, LeftOut]:
    """Returns the parts (ranges of rows) of the input files, and the bad rows that are excluded from them.

    Args:
      data: the `data` section of the config, for names of columns, and for `on_bad_rows` if the argument is None.
      model: the model that will encode the vectors.
      inputs, ids_paths, on_bad_rows: see `export_files`.
      for_append: whether to reject files without ids (their ids would be row numbers), and to accept empty files.

    Raises:
      UserError: if a file cannot be used, or vectors do not have the model's number of features.
    """
    names = {name: data[name] for name in ("id_column", "vector_column") if name in data}
    parts, wanted = list_parts(inputs, **names, ids_paths=ids_paths, allow_empty=for_append), model.mean.shape[0]
    if not parts.parts:
        return parts, LeftOut()
    if for_append and parts.ids_are_row_numbers:
        raise UserError(
            f"{parts.parts[0].path}: has no ids, and row numbers may be the ids of other items; set --input_ids "
            "to a file with one id per line"
        )
    if model.layout is not None:
        parts = parts.under(model.layout)
    elif parts.num_features != wanted:
        # In earlier versions, a run with interaction histories did not record a layout.
        histories = data.get("histories", {}).get("source", "none") != "none" and data.get("collaborative_weight")
        hint = (
            "; the model was trained with additional features from interaction histories; give vectors that end with "
            "these features"
            if histories
            else "; give vectors with the features of the training vectors"
        )
        raise UserError(
            f"{parts.parts[0].path}: vectors have {parts.num_features} features, but the model needs {wanted}{hint}"
        )
    how = on_bad_rows or data.get("on_bad_rows", "error")
    return treat_bad_rows(parts, how, allow_empty=for_append, option="--on_bad_rows=drop")


def _align_parts(to: IdTable, parts: VectorParts, model: RQVAE) -> dict[str, Any]:
    """Returns the renumbering of a model's codes that agrees best with old IDs; see `find_alignment`.

    Only the codes of items in the old table are kept in memory, so files may have any size.
    """
    rows, codes = [], []
    unknown: list[str] = []
    for number in range(len(parts.parts)):
        for ids, vectors in parts.blocks(number, 8 * ITEMS_A_CALL):
            mine, theirs = common_rows(np.asarray(ids), to.item_ids)
            rows.append(theirs)
            codes.append(encode_vectors(model, vectors[mine]))
            unknown = unknown or some_unknown(np.asarray(ids), mine)
    return find_alignment(to, np.concatenate(rows), np.concatenate(codes), model.quantizer.codebook_sizes, unknown)


def run_stages(job: Job, engine: Engine, messages: Messages) -> dict[str, Any]:
    """Runs all stages of a job, and returns the manifest's sections on Semantic IDs and metrics."""

    def results(words: str, stage: Stage, pieces: Sequence[Any], *, on_device: bool = False) -> list[Any]:
        """Returns the results of a stage's pieces, and shows a progress bar."""
        found = []
        with messages.progress(f"{words:>16}", len(pieces)) as progress:
            for result in engine.map(stage, job, pieces, on_device=on_device):
                found.append(result)
                progress.move(len(found))
        return found

    numbers = range(len(job.inputs.parts))
    parts = results("encoding", encode_part, numbers, on_device=True)
    counts = [sum(part["counts"][level] for part in parts) for level in range(len(job.sizes))]
    if not job.inputs.ids_are_row_numbers:
        repeated = results("comparing ids", repeated_hashes, id_ranges(job.inputs.num_items))
        refuse_repeated_ids(job, np.concatenate(list(repeated)))
    groups = make_groups(counts[0])
    shared = results("comparing codes", count_group, groups)
    moves, num_placed = None, 0
    if any(each["crowded"] for each in shared):
        if job.scheme == "relocate" and any(each["exact"] for each in shared):
            results("reading vectors", gather_part, [(number, groups) for number in numbers])
        placed = results("placing items", place_group, groups, on_device=True)
        leaving = all_moves(placed)["leaving"]
        if leaving.any():
            placed += admit_leaving(job, groups, counts[0], leaving)
        moves, num_placed = all_moves(placed), len(placed)
    suffixes = [moves["suffixes"] if moves else 1] if job.scheme == "suffix" else []
    sizes = [*job.sizes, *suffixes]
    results("writing IDs", write_part, [(number, num_placed, sizes) for number in numbers])
    num_items = job.inputs.num_items
    buckets = np.concatenate([each["bucket_sizes"] for each in shared], axis=1)
    most = sum(each["distinct_vectors"] for each in shared) / num_items
    return {
        "semantic_ids": semantic_ids_section(
            job.scheme,
            job.capacity,
            sizes,
            moves["relocated"] / num_items if moves else 0.0,
            moves["relocated_by_level"] / num_items if moves else np.zeros(len(counts)),
        ),
        "metrics": {
            "num_items": num_items,
            "codebook_size": list(job.sizes),
            **figures_of_counts(counts, buckets[0], buckets[1], most),
            **r2_of_moments(sum(part["moments"] for part in parts)),
        },
    }
