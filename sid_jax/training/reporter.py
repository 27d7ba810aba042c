"""What a run tells: to a person on the console, to programs in files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.markup import escape

from sid_jax.data.vector_set import VectorSet
from sid_jax.metrics.codes import perplexity_of_counts, usage_of_counts
from sid_jax.training.evaluate import Evaluation
from sid_jax.training.processes import is_first
from sid_jax.training.progress import ProgressBar, evaluation_text, print_samples, print_summary, steps_text
from sid_jax.training.records import Records
from sid_jax.training.schedules import Durations
from sid_jax.training.wandb_records import WandbRecords


class Reporter:
    """Records metrics and shows progress. Use it as a context; `finished` and `interrupted` come after it.

    Of several processes the first alone has records.

    Args:
      console: where to print.
      workdir: the run's folder.
      data: the corpus, for its size and its titles.
      durations: of the run.
      step: where the run starts or resumes.
      started: `time.monotonic()` when the process began.
      config: the run's, for those who record it elsewhere.
    """

    def __init__(
        self,
        console: Console,
        workdir: Path,
        data: VectorSet,
        durations: Durations,
        step: int,
        started: float,
        config: ConfigDict,
    ):
        self._console, self._workdir, self._data, self._durations = console, workdir, data, durations
        self._started, self._startup = started, 0.0
        self._records: list[Records | WandbRecords] = []
        if is_first():
            self._records.append(Records(workdir, step))
            if config.train.wandb:
                self._records.append(WandbRecords(config.train.wandb, workdir, config.to_dict(), self._say))
        self._bar = ProgressBar(console, durations.num_steps, step)
        self._pending: tuple[int, dict[str, Any]] | None = None
        self._last: dict[str, Any] = {}
        self._distinct: float | None = None
        self._say(self._opening(step))

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._write_pending()
        self._bar.stop()
        for records in self._records:
            records.close()

    def trained(self, step: int, metrics: dict[str, Any]) -> None:
        """Takes the metrics of a call that the device is still at work on, and writes down those of the one before."""
        self._startup = self._startup or time.monotonic() - self._started
        self._write_pending()
        self._pending = (step, metrics)

    def evaluated(self, step: int, metrics: dict[str, Any]) -> None:
        """Writes down and prints the whole corpus' figures."""
        self._write_pending()
        self._write("eval", step, metrics)
        self._distinct = metrics["distinct_rate"]
        self._console.print(evaluation_text(step, self._last, metrics), highlight=False, soft_wrap=True)

    def interrupted(self, step: int) -> None:
        """Says that the run was stopped, and how it goes on."""
        self._console.print(
            f"Stopped and saved at step {step:,} of {self._durations.num_steps:,}; the same command goes on.",
            highlight=False,
        )

    def finished(self, step: int, evaluation: Evaluation, best_step: int | None) -> None:
        """Prints the table, a sample of the codes, and the next command."""
        total = time.monotonic() - self._started
        seconds = f"{total:.1f} s" + (f", of which start-up {self._startup:.1f} s" if self._startup else "")
        print_samples(self._console, self._data, evaluation.codes)
        print_summary(self._console, evaluation.metrics, step, seconds)
        if best_step not in (None, step):
            self._console.print(f"The best checkpoint is that of step {best_step:,}: export takes it.", highlight=False)
        command = f"sid-jax export --workdir={self._workdir} --out=exports/{self._workdir.name}"
        self._console.print(f"Next: [bold]{escape(command)}[/bold]", highlight=False, soft_wrap=True)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _write(self, kind: str, step: int, metrics: dict[str, Any]) -> None:
        for records in self._records:
            records.write(kind, step, metrics)

    def _write_pending(self) -> None:
        if self._pending is None:
            return
        step, metrics = self._pending
        self._pending = None
        self._last = {"epoch": step / self._durations.steps_per_epoch, **_readable(jax.device_get(metrics))}
        self._write("train", step, self._last)
        self._bar.move(step, steps_text(self._last, self._distinct))

    def _opening(self, step: int) -> str:
        num_items, num_features = self._data.vectors.shape
        devices = f"{jax.device_count()} {jax.devices()[0].device_kind} device{'s' * (jax.device_count() > 1)}"
        devices += f" of {jax.process_count()} processes" * (jax.process_count() > 1)
        resumed = f", resuming at step {step:,}" if step else ""
        return (
            f"{num_items:,} vectors of {num_features} features ({self._data.source}); {devices}; "
            f"{self._durations.num_steps:,} steps, {self._durations.steps_per_epoch} an epoch{resumed}"
        )


def _readable(metrics: dict[str, Any]) -> dict[str, Any]:
    """Turns a call's metrics into plain numbers: losses as means over its steps, schedules as they stood last."""
    counts = metrics.pop("counts")
    scheduled = ("temperature", "noise_scale", "learning_rate")
    row = {name: float(values[-1] if name in scheduled else np.mean(values)) for name, values in metrics.items()}
    return {**row, "usage": usage_of_counts(counts), "perplexity": perplexity_of_counts(counts)}
