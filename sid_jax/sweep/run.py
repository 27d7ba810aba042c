"""Runs a sweep from config to Pareto front. Trials run one after another, each as a training run in its own folder."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from sid_jax.config import check_config
from sid_jax.data.load import load_corpus
from sid_jax.errors import UserError, reason
from sid_jax.messages import Messages, time_left
from sid_jax.paths import typed
from sid_jax.settings import differences
from sid_jax.sweep.front import plot_front, print_front, settings_text
from sid_jax.sweep.space import Space, describe, own_settings, with_settings
from sid_jax.sweep.study import Study, Trial
from sid_jax.training.checkpoints import CHECKPOINTS_FOLDER
from sid_jax.training.quantizer import train
from sid_jax.training.records import read_records
from sid_jax.training.workdir import FREE_TO_CHANGE, alone_in
from sid_jax.whole_file import write_json

SWEEP_FILE, STUDY_FILE, PLOT_FILE, TRIALS_FOLDER = "sweep.json", "sweep.db", "front.png", "trials"
# A trial whose process dies this many times, for instance for lack of memory, is recorded as failed.
_MOST_STARTS = 3
# The sweep stops after this many consecutive failures, since the settings are probably not their cause.
_MOST_FAILURES = 3


def sweep(
    config: ConfigDict, space: Space, workdir: Path, *, num_trials: int, messages: Messages | None = None
) -> list[Trial]:
    """Searches a space for settings with high distinct rate and high R^2, and prints and plots the Pareto front.

    The distinct rate is evaluated on all training items, and R^2 on at most 65,536 of them, at the checkpoint that an
    export would use. Cold items (`data.cold_items`) are not used. A stopped or killed sweep resumes, and an unfinished
    trial resumes from its last checkpoint. If a trial fails, this is recorded, and the next trial starts. Only the
    checkpoints of trials on the front are kept.

    Args:
      config: settings of all trials, except those that are searched.
      space: the search space.
      workdir: the sweep's folder.
      num_trials: total number of trials, including failed trials and those of earlier calls.
      messages: where to print; standard output if None.

    Returns:
      The front, by ascending distinct rate; an empty list if the sweep was interrupted.

    Raises:
      UserError: if the config, the data or the folder cannot be used, if Optuna or matplotlib is missing, if three
        trials in a row fail, or if none succeeds.
    """
    messages = messages or Messages.to_console()
    _check_installed()
    check_config(config)
    fingerprint = load_corpus(config).fingerprint()
    with alone_in(workdir):
        _claim(workdir, config, space, fingerprint)
        own = own_settings(config, space)
        study = Study(workdir / STUDY_FILE, space, config.seed, own)
        failures: list[str] = []
        began, earlier = time.monotonic(), _num_ended(study)
        messages.line(
            f"{num_trials} trials in {workdir}, of which {earlier} have ended; the same command resumes the sweep"
        )
        while _num_ended(study) < num_trials:
            trial = study.next()
            with messages.progress(f"trial {trial.number}: {settings_text(trial.settings)}", None, transient=True):
                outcome = _outcome(config, trial, workdir)
            if outcome is None:
                messages.line(f"Stopped in trial {trial.number}. Run the same command to resume.")
                return []
            if isinstance(outcome, str):
                study.fail(trial)
                failures.append(outcome)
                figures = f"failed: {outcome}"
            else:
                study.complete(trial, outcome["distinct_rate"], outcome["r2"])
                failures.clear()
                figures = f"distinct rate {outcome['distinct_rate']:.4f}  R2 {outcome['r2']:.4f}"
            left = time_left(_num_ended(study) - earlier, num_trials - earlier, time.monotonic() - began)
            messages.line(f"trial {trial.number:>3}  {figures}  ({settings_text(trial.settings)})  {left}".rstrip())
            _drop_checkpoints(workdir, study)
            if len(failures) == _MOST_FAILURES:
                raise UserError(
                    f"{_MOST_FAILURES} trials in a row failed, the last one with: {failures[-1]}; fix this, then run "
                    "the same command to resume"
                )
        front = study.front()
        if not front:
            raise UserError(
                f"none of the {num_trials} trials in {workdir} succeeded; raise --trials, or search other settings"
            )
        most = read_records(trial_folder(workdir, front[0]), "eval")[-1]["max_distinct_rate"]
        plot_front(workdir / PLOT_FILE, study.trials(), front, most, own)
        print_front(messages, study.trials(), front, most)
        messages.line(f"The sweep is in {workdir}: {PLOT_FILE}, {TRIALS_FOLDER}, {SWEEP_FILE}, {STUDY_FILE}")
        chosen = trial_folder(workdir, front[-1])
        export = f"sid-jax export --workdir={typed(chosen)} --out=exports/{chosen.name}"
        messages.line(f"Next, for the trial of your choice: {export}")
        return front


def _num_ended(study: Study) -> int:
    return sum(trial.state != "running" for trial in study.trials())


def _check_installed() -> None:
    missing = [name for name in ("optuna", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"a sweep needs {' and '.join(missing)}; run pip install 'sid_jax[sweep]'")


def trial_folder(workdir: Path, trial: Trial) -> Path:
    """Returns the folder of a trial's run."""
    return workdir / TRIALS_FOLDER / str(trial.number)


def _outcome(config: ConfigDict, trial: Trial, workdir: Path) -> dict[str, Any] | str | None:
    """Runs a trial; returns its metrics, or the reason for its failure, or None if it was interrupted."""
    folder = trial_folder(workdir, trial)
    if not _may_start(workdir, trial):
        return f"its process died {_MOST_STARTS} times"
    try:
        changed = with_settings(config, trial.settings)
        finished = train(changed, folder, messages=Messages.silent())
        if finished:
            return _figures(changed, folder)
    except Exception as error:  # A setting may cause any error, such as lack of memory.
        return reason(error)
    _may_start(workdir, trial, asked_to_stop=True)
    return None


def _figures(config: ConfigDict, folder: Path) -> dict[str, Any]:
    """Returns the metrics of the best checkpoint, which an export would use."""
    metric, sign = config.train.best_metric, 1 if config.train.best_mode == "max" else -1
    # Of equally good checkpoints, the latest one is kept and exported.
    return max(reversed(read_records(folder, "eval")), key=lambda row: sign * row[metric])


def _drop_checkpoints(workdir: Path, study: Study) -> None:
    kept = {trial.number for trial in study.front()}
    for trial in study.trials():
        if trial.number not in kept and trial.state != "running":
            shutil.rmtree(trial_folder(workdir, trial) / CHECKPOINTS_FOLDER, ignore_errors=True)


def _claim(workdir: Path, config: ConfigDict, space: Space, fingerprint: str) -> None:
    """Records the config, the space and the data's fingerprint; rejects a folder with the record of another sweep."""
    path = workdir / SWEEP_FILE
    content = {"config": config.to_dict(), "space": describe(space), "data_fingerprint": fingerprint}
    try:
        if path.exists():
            _refuse_another_sweep(path, content)
        elif any(not path.name.startswith(".") for path in workdir.iterdir()):
            raise UserError(f"{workdir} is not empty, and does not contain a sweep; choose another --workdir")
        write_json(path, {"starts": {}, **(_read(path) if path.exists() else {}), **content})
    except OSError as error:
        raise UserError(f"cannot write {workdir}: {error.strerror}; choose another --workdir") from error


def _refuse_another_sweep(path: Path, content: dict[str, Any]) -> None:
    before = _read(path)
    changed = [
        f"{name} was {old!r} and is now {new!r}"
        for name, old, new in differences(before["config"], content["config"])
        if name not in FREE_TO_CHANGE
    ]
    if before["space"] != content["space"]:
        changed.append(f"the search space was {before['space']} and is now {content['space']}")
    if before["data_fingerprint"] != content["data_fingerprint"]:
        changed.append("the vectors, ids or histories have changed")
    if changed:
        raise UserError(f"{path.parent} contains another sweep ({'; '.join(changed)}); choose another --workdir")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        return {**content, **{name: content[name] for name in ("config", "space", "data_fingerprint")}}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({reason(error)}); choose another --workdir") from error


def _may_start(workdir: Path, trial: Trial, *, asked_to_stop: bool = False) -> bool:
    """Adds 1 to the saved number of starts of a trial; returns whether this start is allowed.

    With `asked_to_stop`, the number is reset to 0 instead, since the trial did not fail.
    """
    content = _read(workdir / SWEEP_FILE)
    starts = content["starts"].get(str(trial.number), 0)
    may = starts < _MOST_STARTS
    content["starts"] = {str(trial.number): 0 if asked_to_stop else starts + 1}
    write_json(workdir / SWEEP_FILE, content)
    return may
