"""Who does the pieces of a stage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from sid_jax.bulk.job import Job
from sid_jax.bulk.memory import give_back_memory

# From a job and a piece of it to what the piece came to.
Stage = Callable[[Job, Any], Any]


class Engine(Protocol):
    """Does all pieces of a stage, in any order."""

    def map(self, stage: Stage, job: Job, pieces: Sequence[Any], *, on_device: bool) -> Iterator[Any]:
        """Yields what each piece came to, in the order of the pieces.

        Args:
          stage: a function of a module.
          job: whose.
          pieces: what there is to do.
          on_device: whether a piece is the model's work, which uses all of a machine.
        """


class LocalEngine:
    """This process: the model's work one piece after another, the rest several at a time."""

    def map(self, stage: Stage, job: Job, pieces: Sequence[Any], *, on_device: bool) -> Iterator[Any]:
        """Yields what each piece came to."""
        if on_device:
            for piece in pieces:
                yield stage(job, piece)
                give_back_memory()
            return
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
            for result in threads.map(lambda piece: stage(job, piece), pieces):
                yield result
                give_back_memory()
