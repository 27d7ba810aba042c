"""Several processes that train as one: how they join, and what they have to agree on.

Each runs the whole program on its own devices, with one mesh over the devices of all. They take the same turns because
they have the same settings, data and figures; what only one of them knows, such as a signal or a mistake in its file,
it tells the others here, since all must call the same collectives.
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
    """Makes this process one of those that train as one; does nothing if nothing is asked for.

    It comes before any use of JAX's devices.

    Args:
      distributed: whether to ask the surroundings (Cloud TPU, SLURM, Open MPI) for all of what follows.
      coordinator_address: HOST:PORT of process 0, where the processes find each other.
      num_processes: how many there are.
      process_id: which this one is, from 0.

    Raises:
      UserError: if these do not fit together, or the processes do not find each other.
    """
    named = {"coordinator_address": coordinator_address, "num_processes": num_processes, "process_id": process_id}
    _refuse_misfits(distributed, named)
    if not distributed and coordinator_address is None:
        return
    if coordinator_address and process_id == 0:
        _refuse_taken_port(coordinator_address)
    if hasattr(jax.config, "jax_enable_preemption_service"):
        # A signal is the `Interruption`'s: JAX's own handler would swallow one that comes before there is any.
        jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(coordinator_address, num_processes, process_id)
        # CPUs' collectives want all processes at the first of them within 30 seconds, as they are now but not later on.
        multihost_utils.sync_global_devices("joined")
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the processes do not find each other ({reason}); name them by --coordinator_address=HOST:PORT, "
            "--num_processes and --process_id"
        ) from error


def _refuse_misfits(distributed: bool, named: dict[str, Any]) -> None:
    given = [f"--{name}" for name, value in named.items() if value is not None]
    missing = [f"--{name}" for name, value in named.items() if value is None]
    if distributed and given:
        raise UserError(f"--distributed finds out by itself what {', '.join(given)} would say: leave out one or other")
    if given and missing:
        raise UserError(f"{', '.join(given)} without {', '.join(missing)}: several processes need all three")
    if not given:
        return
    address, count, number = named.values()
    if not re.fullmatch(r".+:\d+", address):
        raise UserError(f"--coordinator_address is {address!r}; it must be HOST:PORT, of process 0")
    if count < 1:
        raise UserError(f"--num_processes is {count}; it must be 1 or more")
    if not 0 <= number < count:
        raise UserError(f"--process_id is {number}; with --num_processes={count} it must be from 0 to {count - 1}")


def _refuse_taken_port(address: str) -> None:
    """Refuses a port that is not free, on which JAX's own service would end in a segmentation fault."""
    try:
        socket.create_server(("", int(address.rpartition(":")[2]))).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"process 0 cannot listen at --coordinator_address={address} ({error}): name a free port"
        ) from error


def is_first() -> bool:
    """Whether this is the process that writes what needs writing once, and speaks to the user."""
    return jax.process_index() == 0


def gather_texts(text: str) -> list[str]:
    """Returns the text of every process, in their order."""
    content = np.frombuffer(text.encode(), np.uint8)
    longest = int(multihost_utils.process_allgather(np.int32(len(content))).max())
    # One zero at least: an array of no bytes cannot be gathered.
    rows = multihost_utils.process_allgather(np.pad(content, (0, longest + 1 - len(content))))
    return [bytes(row).rstrip(b"\0").decode() for row in rows]


def gathered(array: jax.Array) -> np.ndarray:
    """Returns an array on the host, of which every process may hold a part."""
    if jax.process_count() == 1:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def refuse_several(what: str) -> None:
    """Raises a UserError if there are several processes, since one alone can do `what`."""
    if jax.process_count() > 1:
        raise UserError(f"{what} is for one process: run the command once without --distributed or --num_processes")


def from_first(make: Callable[[], Any], like: Any) -> Any:
    """Returns what the first process makes, to every process: a tree of NumPy arrays.

    Made on each, it might differ in a last bit, since another host's linear algebra may round otherwise.

    Args:
      make: called on the first process alone.
      like: the tree's shapes and types.
    """
    tree = make() if is_first() else jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    return multihost_utils.broadcast_one_to_all(tree)


@contextlib.contextmanager
def agreed() -> Iterator[None]:
    """A context out of which all processes go on, or none: a mistake that one of them finds is raised on all."""
    mistake: UserError | OSError | None = None
    try:
        yield
    except (UserError, OSError) as error:
        mistake = error
    if jax.process_count() > 1:
        mistakes = gather_texts(str(mistake or ""))
        if any(mistakes):
            # In good order, or the first process to leave would have JAX abort the others before they say why.
            jax.distributed.shutdown()
            number = next(number for number, text in enumerate(mistakes) if text)
            mistake = mistake or UserError(f"process {number} has stopped: {mistakes[number]}")
    if mistake:
        raise mistake


@contextlib.contextmanager
def noticing_loss() -> Iterator[None]:
    """Turns the error of a collective on CPUs, to which another process came no more, into one line."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if "Gloo" not in str(error):
            raise
        raise UserError(
            "another process has stopped, or cannot be reached: see what it says; the same commands go on from the "
            "last checkpoint"
        ) from error


class SharedFlag:
    """A flag that each process may raise, and that all see raised at the same moment.

    Args:
      mesh: the devices of all processes.
    """

    def __init__(self, mesh: Mesh):
        self._mesh = mesh
        self._before: jax.Array | None = None

    def raised(self, here: bool) -> bool:
        """Whether any process had raised it when this was asked last; all ask equally often.

        Of one process it is the flag as it is. Of several the answer is one turn old: that to the question of now
        stands in line behind what the devices are at work on, and nobody is to wait for them.
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
