"""Flags for running one command in several processes."""

from __future__ import annotations

from absl import flags

from sid_jax.errors import UserError
from sid_jax.paths import bucket_address

_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Train in several processes that Cloud TPU, SLURM or Open MPI has started."
)
_COORDINATOR_ADDRESS = flags.DEFINE_string(
    "coordinator_address", None, "Train in several processes: HOST:PORT of process 0."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")


def shared(workdir: str) -> str:
    """Returns the workdir, after checking that it is not in a bucket if several processes share it.

    Raises:
      UserError: if --workdir is in a bucket, and this is one of several processes.
    """
    several = _DISTRIBUTED.value or (_NUM_PROCESSES.value or 1) > 1
    if several and (address := bucket_address(workdir)) is not None:
        raise UserError(f"--workdir={address}: several processes need a --workdir on a shared disk, not in a bucket")
    return workdir


def join() -> None:
    """Connects this process to the other processes, according to the flags; call it before any use of JAX's devices."""
    from sid_jax.training import processes

    processes.join(_DISTRIBUTED.value, _COORDINATOR_ADDRESS.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
