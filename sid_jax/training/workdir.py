"""Claims the workdir of a run: writes the run's settings and data fingerprint, and rejects a workdir of another run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from sid_jax.data.layout import Layout
from sid_jax.data.listing import whole_names
from sid_jax.errors import UserError, reason
from sid_jax.locks import LOCK_FILE, alone
from sid_jax.settings import differences, fill
from sid_jax.training.processes import agreed, gather_texts, is_first
from sid_jax.whole_file import write_json

RUN_FILE = "run.json"

# Settings that are paths of files or folders, in any section.
_PATHS = ("path", "ids_path", "cold_items", "cache_dir")

# Settings that may change when a run is resumed. Files of the data may be moved, and read with other options, since the
# fingerprint of the data is checked. `data.columns` and `ids.*` matter only in export. `train.wandb` does not affect
# training.
FREE_TO_CHANGE = (
    "data.path",
    "data.ids_path",
    "data.cold_items",
    "data.columns",
    "data.on_bad_rows",
    "data.on_unknown",
    "data.cache_dir",
    "data.histories.path",
    "ids.unique",
    "ids.capacity",
    "train.wandb",
)


@contextlib.contextmanager
def claimed_workdir(
    workdir: Path,
    config: ConfigDict,
    defaults: ConfigDict,
    fingerprint: str,
    *,
    data_shape: tuple[int, int] | None = None,
    num_left_out: int = 0,
    layout: Layout | None = None,
    free_to_change: Sequence[str] = FREE_TO_CHANGE,
) -> Iterator[None]:
    """Returns a context manager that claims a workdir for this run, so that no other command can train in it.

    In a new workdir, the resolved config and the fingerprint of the data are written. In the workdir of an existing
    run, the recorded config and fingerprint are compared with the given ones. If there are several processes, only the
    first process writes and compares.

    Args:
      workdir: the run's folder.
      config: the run's config.
      defaults: the default config of the same kind of run, for settings that an older run did not record.
      fingerprint: fingerprint of the data.
      data_shape: number of training items and number of features, used to restore the model without the data.
      num_left_out: number of rows that were dropped when the data was read.
      layout: the parts of a vector, used to restore the model without the data; None for vectors without parts.
      free_to_change: settings that may differ from those of the existing run.

    Raises:
      UserError: if the workdir belongs to a run with other settings or other data, is in use, or cannot be written; or
        if the processes have different settings or data, or do not share the workdir.
    """
    with agreed():
        _refuse_different_processes(config, fingerprint, free_to_change)
    about = {"data_shape": data_shape, "num_left_out": num_left_out} if data_shape else {}
    parts = {} if layout is None else {"parts": layout.to_dicts()}
    content = {"config": _with_whole_paths(config.to_dict()), "data_fingerprint": fingerprint, **about, **parts}
    with alone_in(workdir):
        with agreed():
            if is_first():
                _refuse_another_run(workdir, config, defaults, fingerprint, free_to_change)
                with _writing(workdir):
                    write_json(workdir / RUN_FILE, content)
        with agreed():
            if not (workdir / RUN_FILE).exists():
                raise UserError(
                    f"{workdir} is not the same folder as on process 0; set --workdir to a folder on a shared disk"
                )
        yield


@contextlib.contextmanager
def alone_in(workdir: Path) -> Iterator[None]:
    """Returns a context manager that creates a folder and locks it against other commands (in process 0 only).

    Raises:
      UserError: if another command has locked the folder, or it cannot be written.
    """
    with contextlib.ExitStack() as lock:
        with agreed():
            if is_first():
                with _writing(workdir):
                    if not workdir.exists():
                        workdir.mkdir(parents=True)
                        lock.callback(_remove_if_empty, workdir)
                    lock.enter_context(alone(workdir / LOCK_FILE, f"using {workdir}"))
        yield


@contextlib.contextmanager
def _writing(workdir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {workdir}: {error.strerror}; choose another --workdir") from error


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _refuse_different_processes(config: ConfigDict, fingerprint: str, free_to_change: Sequence[str]) -> None:
    texts = gather_texts(json.dumps({"config": config.to_dict(), "data_fingerprint": fingerprint}))
    first, *others = map(json.loads, texts)
    for number, other in enumerate(others, start=1):
        for name, old, new in differences(first["config"], other["config"]):
            if name not in free_to_change:
                raise UserError(
                    f"config.{name} is {old!r} on process 0 and {new!r} on process {number}; give all "
                    "processes the same settings"
                )
        if other["data_fingerprint"] != first["data_fingerprint"]:
            raise UserError(
                f"process {number} has other data than process 0 (vectors, ids or histories differ); give all "
                "processes the same data"
            )


def _with_whole_paths(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns settings with absolute paths, since export may be started from another working directory."""
    whole: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            whole[name] = _with_whole_paths(value)
        else:
            whole[name] = whole_names(value) if name in _PATHS and isinstance(value, str) else value
    return whole


def read_run(workdir: Path, config: ConfigDict) -> tuple[ConfigDict, str]:
    """Returns a run's resolved config and its data's fingerprint.

    `config` is the default config of this kind of run. It provides settings that an older run did not record.

    Raises:
      UserError: if there is no run in the workdir, or its record is damaged.
    """
    content = _read(workdir)
    try:
        return fill(config, content["config"]), content["data_fingerprint"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{workdir / RUN_FILE} is damaged ({reason(error)}); choose another --workdir") from error


def read_layout(workdir: Path) -> Layout | None:
    """Returns the parts of a run's training vectors; None for vectors without parts."""
    parts = _read(workdir).get("parts")
    return None if parts is None else Layout.of_dicts(parts)


def read_data_shape(workdir: Path) -> tuple[int, int]:
    """Returns the number of training items of a run, and the number of features of their vectors.

    Raises:
      UserError: if there is no run, or the version of sid_jax that wrote it did not record these numbers.
    """
    shape = _read(workdir).get("data_shape")
    if not (isinstance(shape, list) and len(shape) == 2 and all(isinstance(size, int) for size in shape)):
        raise UserError(
            f"{workdir / RUN_FILE} does not state the number of training items; run the train command again to add it"
        )
    return shape[0], shape[1]


def has_run(workdir: Path) -> bool:
    """Returns whether a folder contains a run, finished or not."""
    path = workdir / RUN_FILE
    return path.exists() and path.stat().st_size > 0


def _read(workdir: Path) -> dict[str, Any]:
    path = workdir / RUN_FILE
    if not has_run(workdir):
        raise UserError(f"{workdir} has no run ({RUN_FILE} is missing); train first, with --workdir={workdir}")
    try:
        content = json.loads(path.read_text())
        return {**content, **{name: content[name] for name in ("config", "data_fingerprint")}}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({reason(error)}); choose another --workdir") from error


def _refuse_another_run(
    workdir: Path, config: ConfigDict, defaults: ConfigDict, fingerprint: str, free_to_change: Sequence[str]
) -> None:
    if not has_run(workdir):
        # A process that was killed or had no disk space may have left hidden files and an empty run file.
        if any(not path.name.startswith(".") and path.name != RUN_FILE for path in workdir.iterdir()):
            raise UserError(f"{workdir} is not empty, and does not contain a run; choose another --workdir")
        return
    there, known_fingerprint = read_run(workdir, defaults)
    changed = [
        f"{name} was {old!r} and is now {new!r}"
        for name, old, new in differences(_with_whole_paths(there.to_dict()), _with_whole_paths(config.to_dict()))
        if name not in free_to_change
    ]
    if changed:
        raise UserError(
            f"{workdir} contains a run with other settings ({'; '.join(changed)}); choose another --workdir"
        )
    if fingerprint != known_fingerprint:
        raise UserError(
            f"{workdir} contains a run on other data (vectors, ids or histories differ); choose another --workdir"
        )
