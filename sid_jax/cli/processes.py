"""Flags for running one command in several processes."""

from __future__ import annotations

from absl import flags

_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One of several processes that train as one, as Cloud TPU, SLURM or Open MPI started them."
)
_COORDINATOR_ADDRESS = flags.DEFINE_string(
    "coordinator_address", None, "One of several processes, elsewhere: HOST:PORT of process 0."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")


def join() -> None:
    """Joins this process to the others, as the flags say; must be called before any use of JAX's devices."""
    from sid_jax.training import processes

    processes.join(_DISTRIBUTED.value, _COORDINATOR_ADDRESS.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
