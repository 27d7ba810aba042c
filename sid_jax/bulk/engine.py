"""Who does the pieces of a stage: this process, or the workers of a Ray cluster, by Ray Data.

What is unpickled here was pickled by this program's own processes; nothing that a user hands in is.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from sid_jax.bulk.job import Job
from sid_jax.errors import UserError

# From a job and a piece of it to what the piece came to.
Stage = Callable[[Job, Any], Any]


class Engine(Protocol):
    """Does all pieces of a stage, in any order."""

    def map(self, stage: Stage, job: Job, pieces: Sequence[Any], *, on_device: bool) -> Iterator[Any]:
        """Yields what each piece came to, in the order of the pieces.

        The stage is a function of a module. With `on_device` a piece is the model's work, which uses all of a machine.
        """


class LocalEngine:
    """This process: the model's work one piece after another, the rest several at a time."""

    def map(self, stage: Stage, job: Job, pieces: Sequence[Any], *, on_device: bool) -> Iterator[Any]:
        """Yields what each piece came to."""
        if on_device:
            for piece in pieces:
                yield stage(job, piece)
                _trim()(0)
            return
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
            for result in threads.map(lambda piece: stage(job, piece), pieces):
                yield result
                _trim()(0)


@functools.cache
def _trim() -> Callable[[int], Any]:
    """Returns what gives free memory of the C library's heap back to the system, where that is glibc's; else nothing.

    Left to itself it keeps holes between what it has given out, and a process grows with the pieces that it has done.
    """
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda padding: None


class RayEngine:
    """Workers of a Ray cluster: the one at RAY_ADDRESS, or else one that is started on this machine.

    A piece whose worker has died is done by another. All machines must see the same files under the same paths: those
    of the vectors, and the folder that is being made.

    Args:
      workers: how many pieces are done at a time.
      cpus: of a worker.
      gpus: of a worker; a piece of the model's work gets so many to itself.

    Raises:
      UserError: if Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, workers: int, *, cpus: float = 1.0, gpus: float = 0.0):
        try:
            import ray
        except ImportError as error:
            raise UserError("--engine=ray needs Ray: pip install 'sid_jax[ray]'") from error
        self._workers, self._cpus, self._gpus = workers, cpus, gpus
        try:
            ray.init(ignore_reinit_error=True, log_to_driver=False, configure_logging=False, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"the Ray cluster cannot be reached: {' '.join(str(error).split())}") from error

    def map(self, stage: Stage, job: Job, pieces: Sequence[Any], *, on_device: bool) -> Iterator[Any]:
        """Yields what each piece came to, in the order of the pieces."""
        import ray

        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"number": number, "piece": pickle.dumps(piece)} for number, piece in enumerate(pieces)]
        found = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            functools.partial(_do, stage, job),
            batch_size=1,
            compute=ray.data.TaskPoolStrategy(size=min(self._workers, len(rows))),
            num_cpus=self._cpus,
            num_gpus=self._gpus if on_device else 0,
        )
        # Ray sets its loggers up when the first data set is made.
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield from _in_order(found.iter_rows())


def _do(stage: Stage, job: Job, batch: dict[str, np.ndarray]) -> dict[str, Any]:
    """Does the one piece of a batch, in a worker."""
    # Only this job's own pieces and results are pickled, between its processes: nothing that a user hands in.
    try:
        result = (True, stage(job, pickle.loads(batch["piece"][0])))
    except UserError as error:
        # What a user can mend is no reason to try again.
        result = (False, str(error))
    return {"number": batch["number"], "result": [pickle.dumps(result)]}


def _in_order(rows: Iterable[dict[str, Any]]) -> Iterator[Any]:
    """Yields results by their numbers, as soon as those before them are there."""
    waiting: dict[int, Any] = {}
    following = 0
    for row in rows:
        right, result = pickle.loads(row["result"])
        if not right:
            raise UserError(result)
        waiting[row["number"]] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1
