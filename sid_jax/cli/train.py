"""Trains a quantizer (RQ-VAE) on item vectors.

Examples: training alone, and training followed by an export.
  sid-jax train --config=ml100k:gumbel --workdir=runs/ml100k
  sid-jax train --config=ml100k:gumbel --workdir=runs/ml100k --export=exports/ml100k

To train in several processes, run the same command in each process: with --distributed on Cloud TPU or under SLURM,
otherwise with --coordinator_address, --num_processes and --process_id.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import ConfigDict

from sid_jax import command, presets, signals
from sid_jax.buckets.mirror import workdir_of
from sid_jax.buckets.outputs import output_folder
from sid_jax.cli import processes
from sid_jax.config import SETTINGS, default_config
from sid_jax.messages import Messages
from sid_jax.paths import typed

if TYPE_CHECKING:
    from sid_jax.training.restore import TrainedRun

_CONFIG = command.config_flag(presets.QUANTIZER)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run. An existing run is resumed.", required=True)
_EXPORT = flags.DEFINE_string(
    "export",
    None,
    "Folder for an export and its report, written after training. It must be new, empty, or written by the same "
    "command. sid-jax export has more options.",
)


def run(started: float) -> None:
    """Runs the command with the flags of `sys.argv`; `started` is the start time by `time.monotonic()`."""
    command.run(lambda: _main(started), __doc__, SETTINGS)


def _main(started: float) -> None:
    from sid_jax.training.quantizer import train

    processes.join()
    with workdir_of(processes.shared(_WORKDIR.value)) as workdir:
        out = None if _EXPORT.value is None else _export_folder(_EXPORT.value, workdir)
        trained = train(_CONFIG.value, workdir, started=started, exported=out is not None)
        if trained is not None and out is not None:
            _export(trained, workdir, out)
    if trained is None:
        raise signals.training_stopped()


def _export_folder(text: str, workdir: Path) -> Path:
    """Returns the folder of the export. Called before training, so that a folder that is in use is rejected early."""
    from sid_jax.export.atomic import refuse_taken
    from sid_jax.export.retry import earlier_request
    from sid_jax.training.processes import refuse_several
    from sid_jax.training.workdir import has_run

    refuse_several("--export")
    out = output_folder(text)
    # If the workdir has no run, an existing export cannot be from an earlier call of this command. It is then refused.
    if earlier_request(out) is not None and not has_run(workdir):
        refuse_taken(out)
    return out


def _export(trained: TrainedRun, workdir: Path, out: Path) -> None:
    from sid_jax.export.run import export
    from sid_jax.report.run import report_of

    signals.end_with_publication()
    messages = Messages.to_console()
    export(workdir, out, run=trained, finish=report_of(out, messages), messages=messages)
    messages.line(f"Next: sid-jax evaluate --ids={typed(out)} {_vectors(trained.config.data)}")


def _vectors(data: ConfigDict) -> str:
    """Returns the flags with which sid-jax evaluate reads the training vectors; with a placeholder if they are made."""
    names = ("id_column", "vector_column", "text_column", "parts")
    if data.source != "vectors" or any(data[name] != default_config().data[name] for name in names):
        return "--vectors=FILE"
    ids = f" --vector_ids={shlex.quote(data.ids_path)}" if data.ids_path else ""
    return f"--vectors={shlex.quote(data.path)}{ids}"
