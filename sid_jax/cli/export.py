"""Writes the Semantic IDs and the codebooks of a trained run.

sid-jax export --workdir=runs/ml100k --out=exports/ml100k

For items other than those that the run was trained on:

sid-jax export --workdir=runs/items --input='new/*.parquet' --out=exports/new

The next version of an export, with new items; published IDs do not change:

sid-jax export --append_to=exports/v1 --input=new.parquet --out=exports/v2
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from sid_jax import command, signals
from sid_jax.buckets.outputs import output_folder
from sid_jax.errors import UserError
from sid_jax.export.programs import chosen_programs
from sid_jax.ids.unique import SCHEMES
from sid_jax.messages import Messages
from sid_jax.paths import as_path

if TYPE_CHECKING:
    from sid_jax.bulk.engine import Engine
    from sid_jax.export.retry import Finish

_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run; optional with --append_to.")
_OUT = flags.DEFINE_string(
    "out",
    None,
    "The folder to write: empty, new, or what the same command wrote before.",
    required=True,
)
_STEP = flags.DEFINE_integer("step", None, "The step of the checkpoint. Default: the best one of a finished run.")
_UNIQUE = flags.DEFINE_enum(
    "unique",
    None,
    SCHEMES,
    "How IDs become unique. Default: the run's config.ids.unique.",
)
_INPUT = flags.DEFINE_multi_string(
    "input",
    [],
    "Vectors to encode instead of the run's own: a file of any kind that `train` reads, a folder of files, or a "
    "pattern. Files may be of any length, and the flag may be repeated.",
)
_INPUT_IDS = flags.DEFINE_multi_string(
    "input_ids", [], "For each file of --input without ids, a file with one id a line. Default: ids are row numbers."
)
_ON_BAD_ROWS = flags.DEFINE_enum(
    "on_bad_rows",
    None,
    ["error", "drop", "report"],
    "--input: what is done with rows that have NaN or infinite values. Default: the run's config.data.on_bad_rows.",
)
_APPEND_TO = flags.DEFINE_string(
    "append_to",
    None,
    "An export, of which --out becomes the next version: its items keep their IDs, and those of --input get free "
    "ones, by the export's own model. With --workdir the run's model is first checked to be the same.",
)
_REMOVE = flags.DEFINE_string(
    "remove", None, "--append_to: a text file with the ids of items to remove, one a line. Their IDs stay reserved."
)
_ON_KNOWN = flags.DEFINE_enum(
    "on_known",
    "keep",
    ["keep", "move", "error"],
    "--append_to: what happens to items of --input that have an ID: keep leaves it as it is, and says how many have "
    "another vector by now; move gives those whose codes are others now a new ID, and lists the old one; error refuses "
    "them.",
)
_ON_RETURNED = flags.DEFINE_enum(
    "on_returned",
    "accept",
    ["accept", "error"],
    "--append_to: what happens to items of --input that were removed earlier: accept gives them their old ID, error "
    "refuses them, as where the input may be an old file.",
)
_ON_UNKNOWN = flags.DEFINE_enum(
    "on_unknown",
    "error",
    ["error", "drop"],
    "--remove: what happens to ids that no version had: error refuses them, with the likely cause, drop "
    "passes over them.",
)
_REUSE_REMOVED = flags.DEFINE_bool("reuse_removed", False, "--append_to: give IDs of removed items to new items.")
_ALIGN_TO = flags.DEFINE_string(
    "align_to",
    None,
    "After a new training: an export, or other IDs, of the old one. Codes are numbered so that as few IDs as possible "
    "change.",
)
_REPORT = flags.DEFINE_bool(
    "report",
    None,
    "Write report.html, a page on the quality of the IDs. Default: yes, but not for an export of --input, which may "
    "have millions of rows. `sid-jax report` writes it at any time.",
)
_ONNX = flags.DEFINE_bool(
    "onnx", False, "Write the encoder as encoder.onnx too, for ONNX Runtime: vectors [n, D] to codes [n, L]."
)
_STABLEHLO = flags.DEFINE_bool(
    "stablehlo", False, "Write the encoder as encoder.stablehlo too, for JAX on CPU, CUDA or TPU without sid_jax."
)
_ENGINE = flags.DEFINE_enum(
    "engine",
    "local",
    ["local", "ray"],
    "--input: where items are encoded, on this machine or by the workers of a Ray cluster.",
)
_WORKERS = flags.DEFINE_integer("workers", 2, "--engine=ray: how many pieces are encoded at a time.", lower_bound=1)
_CPUS = flags.DEFINE_float("cpus", 1.0, "--engine=ray: CPU cores of each worker.", lower_bound=0.0)
_GPUS = flags.DEFINE_float("gpus", 0.0, "--engine=ray: GPUs of each worker.", lower_bound=0.0)


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
            raise UserError("--align_to renumbers codes, and --append_to moves no ID: give one of them")
        _append(as_path(_APPEND_TO.value), out, programs, finish)
    else:
        _export(out, programs, finish)
    report = out / "report.html"
    if finish is not None and report.exists():
        Messages.to_console().line(f"The report is {report}")


def _export(out: Path, programs: Collection[str], finish: Finish | None) -> None:
    if _REMOVE.value is not None or _REUSE_REMOVED.value or _ON_KNOWN.present or _ON_RETURNED.present:
        raise UserError(
            "--remove, --reuse_removed, --on_known and --on_returned are of items of an export: name it by --append_to"
        )
    if _WORKDIR.value is None:
        raise UserError("--workdir is missing: name the folder of a run, or an export to add to by --append_to")
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


def _append(export: Path, out: Path, programs: Collection[str], finish: Finish | None) -> None:
    from sid_jax.append.run import append

    if _ENGINE.value != "local":
        raise UserError("--engine=ray is not for --append_to: leave it out")
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
