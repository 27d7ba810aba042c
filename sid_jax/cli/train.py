"""Trains a residual-quantized autoencoder on item vectors.

sid-jax train --config=ml100k:gumbel --workdir=runs/ml100k

On several hosts or in several processes, run the same command in each: with --distributed on Cloud TPU or under SLURM,
and elsewhere with --coordinator_address, --num_processes and --process_id.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from sid_jax import command, presets
from sid_jax.config import SETTINGS

_CONFIG = command.config_flag(presets.QUANTIZER)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The folder of the run. A run that is there already is resumed.", required=True
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "This is one of several processes that train together, started by Cloud TPU, SLURM or Open MPI.",
)
_COORDINATOR_ADDRESS = flags.DEFINE_string(
    "coordinator_address", None, "This is one of several processes, started by hand: HOST:PORT of process 0."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "The number of processes.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "The number of this process, from 0.")


def run(started: float) -> None:
    """Runs the command with the flags of `sys.argv`; `started` is by `time.monotonic()`."""
    command.run(lambda: _main(started), __doc__, SETTINGS)


def _main(started: float) -> None:
    """Trains the run that the flags describe."""
    from sid_jax.training.processes import join
    from sid_jax.training.quantizer import train

    join(_DISTRIBUTED.value, _COORDINATOR_ADDRESS.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    train(_CONFIG.value, Path(_WORKDIR.value), started=started)
