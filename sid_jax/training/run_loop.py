"""The run loop of all training runs: restores a state, takes steps, evaluates, saves checkpoints, handles signals."""

from __future__ import annotations

import abc
import dataclasses
import math
import time
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from sid_jax.errors import UserError
from sid_jax.messages import Messages, time_left
from sid_jax.settings import AUTO
from sid_jax.signals import Interruption
from sid_jax.training.checkpoints import Checkpoints, MemoryCheckpoints
from sid_jax.training.processes import SharedFlag
from sid_jax.training.records import open_records
from sid_jax.training.schedules import Lengths


class State(Protocol):
    """Training state of a job: a pytree with the number of completed steps as an int32 scalar."""

    @property
    def step(self) -> jax.Array:
        """Number of completed optimizer steps."""


S = TypeVar("S", bound=State)


@dataclasses.dataclass(frozen=True)
class Evaluated(Generic[S]):
    """Result of a job's evaluation.

    Attributes:
      state: the state from which training continues.
      figures: metrics for the records. If the job's kind is "eval", they are also saved with the checkpoint.
      text: the metrics as text for the user.
      problem: the reason why training cannot continue; empty if it can.
    """

    state: S
    figures: dict[str, Any]
    text: str
    problem: str = ""


class Job(abc.ABC, Generic[S]):
    """A training task for the run loop. The loop uses the job as a context manager while it takes steps.

    Attributes:
      config: the run's settings.
      mesh: the devices.
      lengths: numbers of steps of the run, of an epoch, and between evaluations.
      kind: the kind under which the metrics of evaluations are recorded. Only metrics of the kind "eval" determine the
        best checkpoint.
      quiet: whether to omit the lines that are printed at the start and at evaluations.
      patience_steps: number of steps without a better evaluation after which training stops early; 0 disables early
        stopping.
    """

    kind = "eval"
    quiet = False
    patience_steps = 0

    def __init__(self, config: ConfigDict, mesh: Mesh, lengths: Lengths):
        self.config, self.mesh, self.lengths = config, mesh, lengths

    def evaluates(self, step: int) -> bool:
        """Returns whether an evaluation follows the step; it must be True for the run's last step.

        An evaluation is only possible between two calls of `take_steps`, so the step must be the last one of a call.
        """
        return self.lengths.ends_in_evaluation(step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @abc.abstractmethod
    def abstract_state(self) -> S:
        """Returns the shapes, dtypes and shardings of the state."""

    @abc.abstractmethod
    def begin(self) -> S:
        """Returns the initial state of a new run, on every device."""

    @abc.abstractmethod
    def opening(self) -> str:
        """Returns a description of the training data for the user."""

    @abc.abstractmethod
    def take_steps(self, state: S, step: int, num_steps: int) -> tuple[S, dict[str, Any]]:
        """Takes `num_steps` steps; `step` is the state's step. Returns the new state, and metrics as device arrays."""

    @abc.abstractmethod
    def row(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Converts the metrics of a `take_steps` call from NumPy arrays to numbers, one of which must be "loss"."""

    def shown(self, row: dict[str, Any]) -> str:
        """Returns the text next to the progress bar."""
        return f"loss {row['loss']:.3f}"

    @abc.abstractmethod
    def evaluate(self, state: S, step: int, row: dict[str, Any]) -> Evaluated[S]:
        """Evaluates the state at `step`. `row` has the metrics of the latest `take_steps` call."""


@dataclasses.dataclass(frozen=True)
class Ended(Generic[S]):
    """Outcome of a run.

    Attributes:
      state: the state after the last step.
      step: the last step.
      finished: whether the run is complete, at its last step or by early stopping.
      seconds: training time of this process in seconds, without evaluations.
      first_steps: `time.monotonic()` after the first `take_steps` call was dispatched; None if there was no call.
      records: the rows of metrics that a run without a workdir kept in memory.
      interruption: the run's signal handler, which knows the received signal, if any.
    """

    state: S
    step: int
    finished: bool
    seconds: float
    first_steps: float | None
    records: tuple[dict[str, Any], ...]
    interruption: Interruption


def run(
    job: Job[S], checkpoints: Checkpoints | MemoryCheckpoints, *, workdir: Path | None, messages: Messages
) -> Ended[S]:
    """Trains from the latest checkpoint, or from the start if there is none, to the last step or to early stopping.

    SIGTERM and Ctrl-C save a checkpoint and end the training. A run that is killed and resumed gives the same result
    as an uninterrupted run, bit for bit. Metrics are written to the workdir; if it is None, they are kept in memory.

    Raises:
      UserError: if an evaluation reports that training cannot continue.
    """
    latest = checkpoints.latest_step
    state = checkpoints.restore(latest, job.abstract_state()) if latest else job.begin()
    step, lengths, seconds = int(state.step), job.lengths, 0.0

    def over() -> bool:
        # Early stopping depends only on the saved checkpoints. A run that is killed and resumed therefore ends at the
        # same step as an uninterrupted run.
        best = checkpoints.best_step if job.patience_steps else None
        return step >= lengths.num_steps or (best is not None and step - best >= job.patience_steps)

    with (
        job,
        _Reporter(job, workdir, messages, step, resumed=latest is not None) as reporter,
        Interruption() as interruption,
    ):
        stop = SharedFlag(job.mesh)
        while not over() and not stop.raised(interruption.asked):
            began = time.monotonic()
            num_steps = min(lengths.log_every_steps, lengths.num_steps - step)
            state, metrics = job.take_steps(state, step, num_steps)
            step += num_steps
            reporter.trained(step, metrics)
            figures = None
            if evaluates := job.evaluates(step):
                jax.block_until_ready(state)
            seconds += time.monotonic() - began
            if evaluates:
                evaluated = job.evaluate(state, step, reporter.last_row())
                state = evaluated.state
                reporter.evaluated(step, evaluated)
                if evaluated.problem:
                    raise UserError(evaluated.problem)
                figures = evaluated.figures if job.kind == "eval" else None
            if lengths.ends_in_evaluation(step):
                checkpoints.save(step, state, figures)
    finished = over()
    if not finished and step != checkpoints.latest_step:
        checkpoints.save(step, state, None)
    checkpoints.wait()
    if not finished:
        kept = "Stopped and saved" if workdir else "Stopped"
        goes_on = "; run the same command to resume" if workdir else ""
        messages.line(f"{kept} at step {step:,} of {lengths.num_steps:,}{goes_on}.")
    rows = tuple(row for records in reporter.records for row in records.rows)
    return Ended(state, step, finished, seconds, reporter.first_steps, rows, interruption)


def best_of(job: Job[S], checkpoints: Checkpoints | MemoryCheckpoints, ended: Ended[S]) -> tuple[S, int | None]:
    """Returns the state and the step of the best checkpoint; the last state and None if no state was evaluated."""
    best = checkpoints.best_step
    if best is None or best == ended.step:
        return ended.state, best
    return checkpoints.restore(best, job.abstract_state()), best


def refuse_divergence(value: float, step: int, what: str = "loss") -> None:
    """Raises a UserError if a loss, or another metric, is not finite."""
    if not math.isfinite(value):
        raise UserError(
            f"training has diverged: the {what} is not finite at step {step}; lower config.train.learning_rate, and "
            "use a new --workdir"
        )


class _Reporter:
    """Records metrics and shows progress. Use it as a context manager."""

    def __init__(self, job: Job[Any], workdir: Path | None, messages: Messages, step: int, *, resumed: bool):
        self._job, self._messages, self._start = job, messages, step
        self.records = open_records(workdir, step, job.config, messages.line)
        self._bar = messages.progress("training", job.lengths.num_steps, completed=step)
        self._pending: tuple[int, dict[str, Any]] | None = None
        self._row: dict[str, Any] = {}
        self.first_steps: float | None = None
        if not job.quiet:
            count, processes, lengths = jax.device_count(), jax.process_count(), job.lengths
            devices = f"{count} {jax.devices()[0].device_kind} device{'s' * (count > 1)}"
            devices += f" of {processes} processes" * (processes > 1)
            steps = f"{lengths.num_steps:,} steps, {lengths.steps_per_epoch} per epoch"
            if job.config.train.num_epochs == AUTO:
                epochs = lengths.num_steps / lengths.steps_per_epoch
                steps += f" ({epochs:.3g} epochs, which train.num_epochs=auto derives from the number of items)"
            # In joint training, the recommender's run begins with the steps of the joint phase already taken.
            begun = f", {'resuming at' if resumed else 'beginning after'} step {step:,}" if step else ""
            messages.line(f"{job.opening()}\n{devices}; {steps}{begun}")

    def __enter__(self) -> _Reporter:
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.last_row()
        self._bar.__exit__()
        for records in self.records:
            records.close()

    def trained(self, step: int, metrics: dict[str, Any]) -> None:
        """Stores the metrics of the latest `take_steps` call, and records the metrics of the call before it.

        The latest metrics may not be computed yet, so recording them at once would wait for the device.
        """
        self.first_steps = self.first_steps or time.monotonic()
        self.last_row()
        self._pending = (step, metrics)

    def last_row(self) -> dict[str, Any]:
        """Waits for the device, then records and returns the metrics of the last `take_steps` call."""
        if self._pending is not None:
            step, metrics = self._pending
            self._pending = None
            epoch = step / self._job.lengths.steps_per_epoch
            self._row = {"epoch": epoch, **self._job.row(jax.device_get(metrics))}
            self._write("train", step, self._row)
            self._bar.move(step, self._job.shown(self._row))
        return self._row

    def evaluated(self, step: int, evaluated: Evaluated[Any]) -> None:
        """Records and prints the metrics of an evaluation."""
        self._write(self._job.kind, step, evaluated.figures)
        if not self._job.quiet:
            row = self._row
            seconds = time.monotonic() - (self.first_steps or time.monotonic())
            left = time_left(step - self._start, self._job.lengths.num_steps - self._start, seconds)
            line = f"step {step:>6} epoch {row['epoch']:>6.1f}  loss {row['loss']:8.3f}  {evaluated.text}"
            self._messages.line(f"{line}  {left}".rstrip())

    def _write(self, kind: str, step: int, metrics: dict[str, Any]) -> None:
        for records in self.records:
            records.write(kind, step, metrics)
