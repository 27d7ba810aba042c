"""Multi-process training: connects the processes, and shares information that only one of them has.

Each process runs the whole program on its own devices, with one mesh over the devices of all processes. All processes
make the same decisions, since they have the same settings, data and metrics. Information that only one process has,
such as a signal or a file error, is shared here. Otherwise, a process could stop alone, and the others would wait for
it in their next collective.
"""

from __future__ import annotations

import contextlib
import functools
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sid_jax.errors import UserError


def join(
    distributed: bool = False,
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Connects this process to the other processes of a multi-process run; does nothing without arguments.

    Call it before any use of JAX's devices.

    Args:
      distributed: whether to get all other arguments from the environment (Cloud TPU, SLURM, Open MPI).
      coordinator_address: HOST:PORT of process 0, through which the processes find each other.
      num_processes: number of processes.
      process_id: number of this process, from 0.

    Raises:
      UserError: if the arguments are inconsistent, or the processes do not find each other.
    """
    named = {"coordinator_address": coordinator_address, "num_processes": num_processes, "process_id": process_id}
    _refuse_misfits(distributed, named)
    if not distributed and coordinator_address is None:
        return
    if coordinator_address and process_id == 0:
        _refuse_taken_port(coordinator_address)
    if hasattr(jax.config, "jax_enable_preemption_service"):
        # `Interruption` handles signals; JAX's own handler would swallow a signal that arrives before `Interruption` is
        # active.
        jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(coordinator_address, num_processes, process_id)
        # On CPUs, all processes must reach the first collective within 30 seconds. The first collective therefore runs
        # here, before data is loaded.
        multihost_utils.sync_global_devices("joined")
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the processes cannot connect to each other ({reason}); set --coordinator_address=HOST:PORT, "
            "--num_processes and --process_id"
        ) from error


def _refuse_misfits(distributed: bool, named: dict[str, Any]) -> None:
    given = [f"--{name}" for name, value in named.items() if value is not None]
    missing = [f"--{name}" for name, value in named.items() if value is None]
    if distributed and given:
        raise UserError(
            f"--distributed detects the values of {', '.join(given)}; omit either --distributed or these flags"
        )
    if given and missing:
        raise UserError(
            f"{' and '.join(given)} cannot be used without {' and '.join(missing)}; several processes need all three "
            "flags"
        )
    if not given:
        return
    address, count, number = named.values()
    if not re.fullmatch(r".+:\d+", address):
        raise UserError(f"--coordinator_address is {address!r}; it must be HOST:PORT of process 0")
    if count < 1:
        raise UserError(f"--num_processes is {count}; it must be 1 or more")
    if not 0 <= number < count:
        raise UserError(f"--process_id is {number}; with --num_processes={count} it must be from 0 to {count - 1}")


def _refuse_taken_port(address: str) -> None:
    """Raises a UserError if a port is not free, since JAX's own service would then end in a segmentation fault."""
    try:
        socket.create_server(("", int(address.rpartition(":")[2]))).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"process 0 cannot listen on --coordinator_address={address} ({error}); set a free port"
        ) from error


def is_first() -> bool:
    """Returns whether this is process 0, the only process that prints messages and writes shared files."""
    return jax.process_index() == 0


def gather_texts(text: str) -> list[str]:
    """Returns the texts of all processes, in the order of the processes."""
    content = np.frombuffer(text.encode(), np.uint8)
    longest = int(multihost_utils.process_allgather(np.int32(len(content))).max())
    # The padding has at least one zero byte, since an empty array cannot be gathered.
    rows = multihost_utils.process_allgather(np.pad(content, (0, longest + 1 - len(content))))
    return [bytes(row).rstrip(b"\0").decode() for row in rows]


def gathered(array: jax.Array) -> np.ndarray:
    """Returns a whole array on the host, even if it is sharded over several processes."""
    if jax.process_count() == 1:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def refuse_several(what: str) -> None:
    """Raises a UserError if there are several processes; `what` names the operation that needs a single process."""
    if jax.process_count() > 1:
        raise UserError(
            f"{what} runs in one process only; run the command once, without --distributed and --num_processes"
        )


def from_first(make: Callable[[], Any], like: Any) -> Any:
    """Returns a tree of NumPy arrays that the first process computes, broadcast to every process.

    If each process computed the tree, the last bits might differ, since linear algebra may round differently on each
    host.

    Args:
      make: computes the tree; called on the first process only.
      like: the tree's shapes and dtypes.
    """
    tree = make() if is_first() else jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    return multihost_utils.broadcast_one_to_all(tree)


@contextlib.contextmanager
def agreed() -> Iterator[None]:
    """Returns a context manager that raises an error of any process on all processes, so that all or none continue."""
    mistake: UserError | OSError | None = None
    try:
        yield
    except (UserError, OSError) as error:
        mistake = error
    if jax.process_count() > 1:
        mistakes = gather_texts(str(mistake or ""))
        if any(mistakes):
            # Without an orderly shutdown, JAX aborts the other processes before they print the error.
            jax.distributed.shutdown()
            number = next(number for number, text in enumerate(mistakes) if text)
            mistake = mistake or UserError(f"process {number} has stopped: {mistakes[number]}")
    if mistake:
        raise mistake


@contextlib.contextmanager
def noticing_loss() -> Iterator[None]:
    """Returns a context manager that raises a UserError if another process is lost during a collective on CPUs."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if "Gloo" not in str(error):
            raise
        raise UserError(
            "another process has stopped or cannot be reached; see its output, then run the same commands to resume "
            "from the last checkpoint"
        ) from error


class SharedFlag:
    """A flag that any process may raise, and that all processes receive at the same step.

    Args:
      mesh: the devices of all processes.
    """

    def __init__(self, mesh: Mesh):
        self._mesh = mesh
        self._before: jax.Array | None = None

    def raised(self, here: bool) -> bool:
        """Returns whether any process raised the flag in the previous call. All processes must make equally many calls.

        `here` is whether this process raises the flag. With one process, the result is the flag of this call.
        With several processes, the devices combine the flags of a call after the training steps that they are running.
        Waiting for this result would stall training, so the result of the previous call is returned.
        """
        if jax.process_count() == 1:
            return here
        shared_out = NamedSharding(self._mesh, PartitionSpec("data"))
        flags = jax.make_array_from_callback((self._mesh.size,), shared_out, lambda _: np.array([here]))
        before, self._before = self._before, _any(flags, mesh=self._mesh)
        return before is not None and bool(before)


@functools.partial(jax.jit, static_argnames="mesh")
def _any(flags: jax.Array, *, mesh: Mesh) -> jax.Array:
    return jax.lax.with_sharding_constraint(jnp.any(flags), NamedSharding(mesh, PartitionSpec()))
