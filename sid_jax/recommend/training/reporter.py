"""What a recommender's run tells: to a person on the console, to programs in files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from sid_jax.recommend.data.task import Task
from sid_jax.recommend.training.step import Recipe
from sid_jax.training.progress import ProgressBar
from sid_jax.training.records import Records


class Reporter:
    """Records metrics and shows progress. Use it as a context.

    Args:
      console: where to print.
      workdir: the run's folder.
      task: for its size.
      recipe: of the run.
      step: where the run starts or resumes.
      quiet: prints no line for each validation.
    """

    def __init__(self, console: Console, workdir: Path, task: Task, recipe: Recipe, step: int, *, quiet: bool):
        self._console, self._lengths, self._quiet = console, recipe.lengths, quiet
        self._records = Records(workdir, step)
        self._bar = ProgressBar(console, recipe.lengths.num_steps, step)
        self._pending: tuple[int, dict[str, Any]] | None = None
        self._last: dict[str, Any] = {}
        self._began = time.monotonic()
        if not quiet:
            self._say(_opening(task, recipe, step))

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._write_pending()
        self._bar.stop()
        self._records.close()

    def trained(self, step: int, metrics: dict[str, Any]) -> None:
        """Takes the metrics of a call that the device is still at work on, and writes down those of the one before."""
        self._write_pending()
        self._pending = (step, metrics)

    def evaluated(self, step: int, metrics: dict[str, float]) -> None:
        """Writes down and prints the figures of the validation."""
        self._write_pending()
        self._records.write("eval", step, metrics)
        if not self._quiet:
            self._say(
                f"step {step:>6} epoch {self._last['epoch']:>6.1f}  loss {self._last['loss']:7.3f}  validation "
                f"recall@10 {metrics['recall@10']:.4f} ndcg@10 {metrics['ndcg@10']:.4f}  "
                f"{time.monotonic() - self._began:6.0f} s"
            )

    def refreshed(self, step: int, figures: dict[str, Any], line: str) -> None:
        """Writes down what became of IDs that change, and prints it."""
        self._write_pending()
        self._records.write("ids", step, figures)
        if not self._quiet:
            self._say(f"step {step:>6} epoch {self._last['epoch']:>6.1f}  loss {self._last['loss']:7.3f}  {line}")

    def interrupted(self, step: int) -> None:
        """Says that the run was stopped, and how it goes on."""
        self._say(f"Stopped and saved at step {step:,} of {self._lengths.num_steps:,}; the same command goes on.")

    def _write_pending(self) -> None:
        if self._pending is None:
            return
        step, metrics = self._pending
        self._pending = None
        host = jax.device_get(metrics)
        self._last = {
            "epoch": step / self._lengths.steps_per_epoch,
            "loss": float(np.mean(host["loss"])),
            "level_loss": np.mean(host["level_loss"], axis=0).tolist(),
            "gradient_norm": float(np.mean(host["gradient_norm"])),
            "learning_rate": float(host["learning_rate"][-1]),
        }
        # What joint training has besides.
        self._last |= {name: float(np.mean(values)) for name, values in host.items() if name not in self._last}
        self._records.write("train", step, self._last)
        self._bar.move(step, f"loss {self._last['loss']:.3f}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _opening(task: Task, recipe: Recipe, step: int) -> str:
    table, lengths = task.table, recipe.lengths
    distinct = len(np.unique(table.semantic_ids, axis=0))
    devices = f"{jax.device_count()} {jax.devices()[0].device_kind} device{'s' * (jax.device_count() > 1)}"
    return (
        f"{len(task.split.train):,} users, {len(table.item_ids):,} items with {distinct:,} Semantic IDs of "
        f"{table.semantic_ids.shape[1]} codes ({table.name}); {devices}; {lengths.num_steps:,} steps, "
        f"{lengths.steps_per_epoch} an epoch" + (f", resuming at step {step:,}" if step else "")
    )
