"""Trains a quantizer (RQ-VAE) on item vectors.

Example:
  sid-jax train --config=ml100k:gumbel --workdir=runs/ml100k

To train in several processes, run the same command in each process: with --distributed on Cloud TPU or under SLURM,
otherwise with --coordinator_address, --num_processes and --process_id.
"""

from __future__ import annotations

from absl import flags

from sid_jax import command, presets
from sid_jax.buckets.mirror import workdir_of
from sid_jax.cli import processes
from sid_jax.config import SETTINGS
from sid_jax.signals import training_stopped

_CONFIG = command.config_flag(presets.QUANTIZER)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run. An existing run is resumed.", required=True)


def run(started: float) -> None:
    """Runs the command with the flags of `sys.argv`; `started` is the start time by `time.monotonic()`."""
    command.run(lambda: _main(started), __doc__, SETTINGS)


def _main(started: float) -> None:
    from sid_jax.training.quantizer import train

    processes.join()
    with workdir_of(processes.shared(_WORKDIR.value)) as workdir:
        finished = train(_CONFIG.value, workdir, started=started) is not None
    if not finished:
        raise training_stopped()
