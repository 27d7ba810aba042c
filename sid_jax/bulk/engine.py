"""Engines that run the stages of a bulk export: in this process, or on the workers of a Ray cluster through Ray Data.

A stage is split into pieces, such as the rows of one input file. The pieces of a stage run independently. This
module unpickles only data that the program's own processes have pickled, never user input.
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

# A function that takes a job and a piece, and returns the piece's result.
Stage = Callable[[Job, Any], Any]


class Engine(Protocol):
    """Runs all pieces of a stage, in any order."""

    def map(self, stage: Stage, job: Job, pieces: Sequence[Any], *, on_device: bool) -> Iterator[Any]:
        """Yields the result of each piece, in the order of the pieces.

        `stage` is a module-level function. With `on_device`, pieces run the model, and each piece uses all
        devices of its process.
        """


class LocalEngine:
    """Runs pieces in this process. Pieces that run the model run one after another; other pieces run in threads."""

    def map(self, stage: Stage, job: Job, pieces: Sequence[Any], *, on_device: bool) -> Iterator[Any]:
        """Yields the result of each piece, in the order of the pieces."""
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
    """Returns glibc's `malloc_trim`, which returns free heap memory to the system; without glibc, a no-op.

    Without trimming, the heap is fragmented, and the memory of the process grows with the number of pieces.
    """
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda padding: None


class RayEngine:
    """Runs pieces on the workers of a Ray cluster, either the cluster at RAY_ADDRESS or a new one on this machine.

    If a worker dies, another worker runs its piece. All machines must have the same files under the same paths: the
    files of the vectors, unless they are in a bucket, and the folder of the export.

    Args:
      workers: number of pieces that run at the same time.
      cpus: CPUs per worker.
      gpus: GPUs per worker, for pieces that run the model.

    Raises:
      UserError: if Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, workers: int, *, cpus: float = 1.0, gpus: float = 0.0):
        try:
            import ray
        except ImportError as error:
            raise UserError("--engine=ray needs Ray; run pip install 'sid_jax[ray]'") from error
        self._workers, self._cpus, self._gpus = workers, cpus, gpus
        try:
            ray.init(ignore_reinit_error=True, log_to_driver=False, configure_logging=False, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"--engine=ray: the Ray cluster cannot be reached ({' '.join(str(error).split())}); check RAY_ADDRESS"
            ) from error

    def map(self, stage: Stage, job: Job, pieces: Sequence[Any], *, on_device: bool) -> Iterator[Any]:
        """Yields the result of each piece, in the order of the pieces."""
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
        # Ray configures its loggers when it makes the first data set, so the level is set after that.
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield from _in_order(found.iter_rows())


def _do(stage: Stage, job: Job, batch: dict[str, np.ndarray]) -> dict[str, Any]:
    """Runs one piece in a worker. Ray Data passes it as a batch of one row."""
    # Unpickling is safe: the bytes come from this job's own processes, never from user input.
    try:
        result = (True, stage(job, pickle.loads(batch["piece"][0])))
    except UserError as error:
        # The error is returned. If it were raised, Ray would run the piece again, with the same result.
        result = (False, str(error))
    return {"number": batch["number"], "result": [pickle.dumps(result)]}


def _in_order(rows: Iterable[dict[str, Any]]) -> Iterator[Any]:
    """Yields results in the order of their numbers, each as soon as all results before it have arrived."""
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
