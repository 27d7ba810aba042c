"""Trains a residual-quantized autoencoder on item vectors.

python train.py --config=configs/ml100k.py:gumbel --workdir=runs/ml100k

On several hosts, or in several processes: the same command in each, with --distributed on Cloud TPU or under SLURM, and
elsewhere with --coordinator_address, --num_processes and --process_id.
"""

import time

STARTED = time.monotonic()

from pathlib import Path  # noqa: E402  (the clock starts before the imports, which are part of the start-up time)

from absl import flags  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from sid_jax import command  # noqa: E402
from sid_jax.config import default_config  # noqa: E402
from sid_jax.settings import field_names  # noqa: E402

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file in configs/, with its argument after a colon; --config.name=value sets a field."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder; one that holds this run already is resumed.", required=True
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One of several processes that train as one, as Cloud TPU, SLURM or Open MPI started them."
)
_COORDINATOR_ADDRESS = flags.DEFINE_string(
    "coordinator_address", None, "One of several processes, elsewhere: HOST:PORT of process 0."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
flags.mark_flag_as_required("config")


def main() -> None:
    """Trains the run that the flags describe."""
    from sid_jax.training.loop import train
    from sid_jax.training.processes import join

    join(_DISTRIBUTED.value, _COORDINATOR_ADDRESS.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    train(_CONFIG.value, Path(_WORKDIR.value), started=STARTED)


if __name__ == "__main__":
    command.run(main, field_names(default_config()))
