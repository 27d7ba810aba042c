"""Saves and restores a run's checkpoints, on disk with Orbax (asynchronously and atomically) or in memory."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from ml_collections import ConfigDict

from sid_jax.buckets.mirror import mirror_above
from sid_jax.errors import UserError
from sid_jax.training.processes import agreed

if TYPE_CHECKING:
    import orbax.checkpoint

CHECKPOINTS_FOLDER = "checkpoints"


def open_checkpoints(
    workdir: Path | None, train: ConfigDict
) -> contextlib.AbstractContextManager[Checkpoints | MemoryCheckpoints]:
    """Returns a run's checkpoints as a context manager: on disk in the workdir, or in memory if `workdir` is None."""
    if workdir is None:
        return contextlib.nullcontext(MemoryCheckpoints(train))
    return Checkpoints(workdir / CHECKPOINTS_FOLDER, train)


class MemoryCheckpoints:
    """The best checkpoint of a run that writes nothing to disk, with the interface of `Checkpoints`."""

    latest_step: int | None = None

    def __init__(self, train: ConfigDict):
        self._metric, self._sign = train.best_metric, -1 if train.best_mode == "min" else 1
        self._best: tuple[float, int, Any] | None = None

    def save(self, step: int, state: Any, metrics: dict[str, Any] | None) -> None:
        """Copies a state to the host if it is the best so far. A state without metrics is ignored.

        Of several states with the same value of the metric, the latest one is the best.
        """
        if metrics is None:
            return
        score = self._sign * metrics[self._metric]
        if self._best is None or score >= self._best[0]:
            self._best = score, step, jax.device_get(state)

    def wait(self) -> None:
        """Does nothing."""

    @property
    def best_step(self) -> int | None:
        """The step of the best checkpoint by `train.best_metric`; None if no step was evaluated."""
        return self._best and self._best[1]

    def restore(self, step: int, like: Any) -> Any:
        """Returns the best state, on the devices of `like`; `step` must be `best_step`."""
        if self._best is None or step != self._best[1]:
            raise ValueError(f"there is no checkpoint of step {step} in memory, only of step {self.best_step}")
        return jax.tree.map(
            lambda leaf, there: jax.make_array_from_callback(leaf.shape, there.sharding, leaf.__getitem__),
            self._best[2],
            like,
        )


class Checkpoints:
    """The checkpoints of one run on disk, as a context manager that waits for the last save when it exits.

    If a run has several processes, they share the folder, and all of them call `save` and `restore` together.

    Args:
      folder: the checkpoints' folder; need not exist yet.
      train: the section "train" of the config. It has the metric that determines the best checkpoint, the mode ("min"
        or "max"), and the number of checkpoints to keep.
      read_only: whether the folder must not be written, because a run may be saving in it.
    """

    def __init__(self, folder: Path, train: ConfigDict, *, read_only: bool = False):
        self._folder = folder
        self._manager = _manager(folder, train, read_only)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # If another error is being raised, a failed save must not replace it.
        with contextlib.suppress(UserError) if kind else contextlib.nullcontext(), self._saving():
            self._manager.close()

    def save(self, step: int, state: Any, metrics: dict[str, Any] | None) -> None:
        """Saves a state in the background. A state without metrics cannot become the best checkpoint.

        If the workdir is in a bucket, the state is uploaded before this method returns.
        """
        scalars = None if metrics is None else {k: v for k, v in metrics.items() if isinstance(v, (int, float))}
        with agreed():
            self._refuse_full_disk(state)
        with self._saving():
            self._manager.save(step, args=_arguments().StandardSave(state), metrics=scalars, force=True)
        if (mirror := mirror_above(self._folder)) is not None:
            self.wait()
            mirror.sync()

    def wait(self) -> None:
        """Waits until all saves are on disk."""
        with self._saving():
            self._manager.wait_until_finished()

    @property
    def steps(self) -> list[int]:
        """The steps of the checkpoints on disk, in ascending order."""
        return sorted(self._manager.all_steps())

    @property
    def latest_step(self) -> int | None:
        """The last step saved, or None."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """The step of the best checkpoint by `train.best_metric`; None if no step was evaluated."""
        return self._manager.best_step()

    def restore(self, step: int, like: Any) -> Any:
        """Restores the checkpoint of a step directly onto the devices of `like`.

        Args:
          step: one of `steps`.
          like: a state of `jax.ShapeDtypeStruct`s with shardings. They determine the shapes, dtypes and devices of the
            restored state. The checkpoint may have been saved from any number of devices.

        Raises:
          UserError: if the checkpoint is damaged, or belongs to a model of another shape.
        """
        try:
            self._refuse_other_shapes(step, like)
            return self._manager.restore(step, args=_arguments().StandardRestore(like))
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"the checkpoint {self._folder / str(step)} cannot be restored ({reason}); delete this folder, then "
                "run the same command to resume from the previous checkpoint"
            ) from error

    def _refuse_full_disk(self, state: Any) -> None:
        """Raises a UserError if the free disk space is less than twice the size of a checkpoint.

        Without this check, Orbax and its dependencies would also print their own errors when a write fails.
        """
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._folder).free
        if free < 2 * needed:
            raise UserError(
                f"the disk of {self._folder} is nearly full: {free / 1e6:.0f} MB are free, less than twice the size "
                f"of a checkpoint ({needed / 1e6:.0f} MB); free some space, then run the same command to resume"
            )

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        """Converts the error of a failed write to a UserError.

        The error may come from an earlier save, since saves run in the background.
        """
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split()).rpartition(": ")[2]
            raise UserError(
                f"cannot save a checkpoint in {self._folder}: {reason}; remove the cause, then run the same command to "
                "resume"
            ) from error

    def _refuse_other_shapes(self, step: int, like: Any) -> None:
        saved = _shapes(self._manager.item_metadata(step))
        for name, shape in _shapes(like).items():
            if saved.get(name, shape) != shape:
                raise UserError(
                    f"the checkpoint {self._folder / str(step)} is of another model: {name} has the shape "
                    f"{saved[name]}, but the config needs {shape}; use the config of that run, or another --workdir"
                )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    return {name: tuple(leaf.shape) for name, leaf in named.items() if hasattr(leaf, "shape")}


# The functions below import Orbax when they are called, since the import takes a fifth of the time of a short command.
# An append, and a run that is kept in memory, do not need Orbax.
def _manager(folder: Path, train: ConfigDict, read_only: bool) -> orbax.checkpoint.CheckpointManager:
    """Returns Orbax's manager of the checkpoints in a folder.

    It keeps the last checkpoint and the best ones, whose number is `train.keep_checkpoints - 1`, but at least 1.
    """
    import orbax.checkpoint as ocp
    from orbax.checkpoint.checkpoint_managers import preservation_policy

    def metric_of(metrics: dict[str, Any]) -> Any:
        return metrics[train.best_metric]

    best = preservation_policy.BestN(
        n=max(1, train.keep_checkpoints - 1),
        get_metric_fn=metric_of,
        reverse=train.best_mode == "min",
        keep_checkpoints_without_metrics=False,
    )
    return ocp.CheckpointManager(
        folder.absolute(),
        item_handlers=ocp.StandardCheckpointHandler(),
        options=ocp.CheckpointManagerOptions(
            best_fn=metric_of,
            best_mode=train.best_mode,
            preservation_policy=preservation_policy.AnyPreservationPolicy([preservation_policy.LatestN(1), best]),
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
        ),
    )


def _arguments() -> Any:
    """Returns the Orbax module that contains argument classes such as `StandardSave`."""
    import orbax.checkpoint as ocp

    return ocp.args
