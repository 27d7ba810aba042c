"""Writes the Semantic IDs and codebooks of a training run, or the next version of an export.

Examples: an export of the training items, an export of other items, and the next version of an export, with new items.
  sid-jax export --workdir=runs/ml100k --out=exports/ml100k
  sid-jax export --workdir=runs/items --input='new/*.parquet' --out=exports/new
  sid-jax export --append_to=exports/v1 --input=new.parquet --out=exports/v2
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from sid_jax import command, signals
from sid_jax.buckets.outputs import output_folder
from sid_jax.errors import UserError
from sid_jax.export.programs import chosen_programs
from sid_jax.ids.unique import SCHEMES
from sid_jax.messages import Messages
from sid_jax.paths import as_path, typed

if TYPE_CHECKING:
    from sid_jax.bulk.engine import Engine
    from sid_jax.export.retry import Finish

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the training run; optional with --append_to.")
_OUT = flags.DEFINE_string(
    "out",
    None,
    "Folder to write: new, empty, or written by the same command.",
    required=True,
)
_STEP = flags.DEFINE_integer("step", None, "Step of the checkpoint. Default: the best checkpoint of a finished run.")
_UNIQUE = flags.DEFINE_enum(
    "unique",
    None,
    SCHEMES,
    "How IDs are made unique. Default: config.ids.unique of the run.",
)
_INPUT = flags.DEFINE_multi_string(
    "input",
    [],
    "Vectors to encode instead of the training data: a file, a folder or a pattern. Can be repeated.",
)
_INPUT_IDS = flags.DEFINE_multi_string(
    "input_ids",
    [],
    "For each file of --input without ids: a file with one id per line. Default: ids are row numbers, which "
    "--append_to does not accept.",
)
_ON_BAD_ROWS = flags.DEFINE_enum(
    "on_bad_rows",
    None,
    ["error", "drop", "report"],
    "Rows of --input with NaN or infinite values are rejected (error), dropped (drop), or rejected and listed "
    "(report). Default: config.data.on_bad_rows of the run.",
)
_APPEND_TO = flags.DEFINE_string(
    "append_to",
    None,
    "An existing export; --out becomes its next version. Published items keep their IDs, and new items of --input get "
    "free IDs.",
)
_REMOVE = flags.DEFINE_string(
    "remove",
    None,
    "With --append_to: a text file with the ids of items to remove, one per line. Their IDs stay reserved.",
)
_ON_KNOWN = flags.DEFINE_enum(
    "on_known",
    "keep",
    ["keep", "move", "error"],
    "With --append_to: known items (items of --input that the export already has) keep their IDs (keep), get new IDs "
    "if their codes have changed (move), or are rejected (error).",
)
_ON_RETURNED = flags.DEFINE_enum(
    "on_returned",
    "accept",
    ["accept", "error"],
    "With --append_to: items of --input that were removed earlier get their old IDs (accept) or are rejected (error).",
)
_ON_UNKNOWN = flags.DEFINE_enum(
    "on_unknown",
    "error",
    ["error", "drop"],
    "With --remove: ids that were never published are rejected (error) or ignored (drop).",
)
_REUSE_REMOVED = flags.DEFINE_bool(
    "reuse_removed",
    False,
    "With --append_to: other items may get the IDs of removed items and the former IDs of moved items.",
)
_ALIGN_TO = flags.DEFINE_string(
    "align_to",
    None,
    "Export or ID table of an earlier run. Codes are renumbered so that few IDs change.",
)
_REPORT = flags.DEFINE_bool(
    "report",
    None,
    "Write report.html, a page on the quality of the IDs. Default: False with --input but without "
    "--append_to, otherwise True.",
)
_ONNX = flags.DEFINE_bool("onnx", False, "Also write encoder.onnx, for ONNX Runtime.")
_STABLEHLO = flags.DEFINE_bool("stablehlo", False, "Also write encoder.stablehlo, for JAX without sid_jax.")
_ENGINE = flags.DEFINE_enum(
    "engine",
    "local",
    ["local", "ray"],
    "With --input: encode on this machine (local) or on a Ray cluster (ray).",
)
_WORKERS = flags.DEFINE_integer("workers", 2, "With --engine=ray: number of workers.", lower_bound=1)
_CPUS = flags.DEFINE_float("cpus", 1.0, "With --engine=ray: CPU cores per worker.", lower_bound=0.0)
_GPUS = flags.DEFINE_float("gpus", 0.0, "With --engine=ray: GPUs per worker.", lower_bound=0.0)


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run(_main, __doc__)


def _main() -> None:
    signals.end_with_publication()
    out, finish = output_folder(_OUT.value), None
    programs = chosen_programs(onnx=_ONNX.value, stablehlo=_STABLEHLO.value)
    if _REPORT.value or (_REPORT.value is None and (_APPEND_TO.value is not None or not _INPUT.value)):
        from sid_jax.report.run import report_of

        finish = report_of(out, Messages.to_console())
    if _APPEND_TO.value is not None:
        if _ALIGN_TO.value is not None:
            raise UserError("--align_to renumbers codes, but --append_to keeps published IDs; give only one of the two")
        _append(as_path(_APPEND_TO.value), out, programs, finish)
    else:
        _export(out, programs, finish)
    messages = Messages.to_console()
    if _APPEND_TO.value is not None:
        messages.line(f"Next: sid-jax diff {typed(as_path(_APPEND_TO.value))} {typed(out)}")
    else:
        messages.line(f"Next: sid-jax evaluate --ids={typed(out)} --vectors=FILE")


def _export(out: Path, programs: Collection[str], finish: Finish | None) -> None:
    _refuse_without("--append_to=EXPORT", _REMOVE, _REUSE_REMOVED, _ON_KNOWN, _ON_RETURNED, _ON_UNKNOWN)
    if not _INPUT.value:
        _refuse_without("--input=FILES", _INPUT_IDS, _ON_BAD_ROWS, _ENGINE)
    if _WORKDIR.value is None:
        raise UserError("--workdir is missing; set it to the folder of a training run, or set --append_to to an export")
    workdir, step, unique = as_path(_WORKDIR.value), _STEP.value, _UNIQUE.value
    align_to = as_path(_ALIGN_TO.value) if _ALIGN_TO.value is not None else None
    if _INPUT.value:
        from sid_jax.bulk.run import export_files

        export_files(
            workdir,
            out,
            _INPUT.value,
            ids_paths=_INPUT_IDS.value,
            step=step,
            unique=unique,
            align_to=align_to,
            on_bad_rows=_ON_BAD_ROWS.value,
            programs=programs,
            engine=_engine(),
            finish=finish,
        )
    else:
        from sid_jax.export.run import export

        export(workdir, out, step=step, unique=unique, align_to=align_to, programs=programs, finish=finish)


def _refuse_without(needed: str, *given: flags.FlagHolder[Any]) -> None:
    """Raises UserError if any of the flags `given` is set, since they require the flag `needed`, which is missing."""
    if names := [f"--{flag.name}" for flag in given if flag.present]:
        raise UserError(f"{' and '.join(names)} {'needs' if len(names) == 1 else 'need'} {needed}")


def _append(export: Path, out: Path, programs: Collection[str], finish: Finish | None) -> None:
    from sid_jax.append.run import append

    if _ENGINE.value != "local":
        raise UserError("--engine=ray does not work with --append_to; omit --engine")
    append(
        export,
        out,
        _INPUT.value,
        ids_paths=_INPUT_IDS.value,
        removed=as_path(_REMOVE.value) if _REMOVE.value is not None else None,
        reuse_removed=_REUSE_REMOVED.value,
        on_known=_ON_KNOWN.value,
        on_returned=_ON_RETURNED.value,
        on_unknown=_ON_UNKNOWN.value,
        workdir=as_path(_WORKDIR.value) if _WORKDIR.value is not None else None,
        step=_STEP.value,
        unique=_UNIQUE.value,
        on_bad_rows=_ON_BAD_ROWS.value,
        programs=programs,
        finish=finish,
    )


def _engine() -> Engine:
    from sid_jax.bulk.engine import LocalEngine, RayEngine

    return LocalEngine() if _ENGINE.value == "local" else RayEngine(_WORKERS.value, cpus=_CPUS.value, gpus=_GPUS.value)
