"""Runs the command `recommend`: trains a recommender, compares it with baselines, and prints examples of lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from sid_jax.messages import Messages
from sid_jax.recommend.artifact import FOLDER, TrainedRecommender, named_params, publish_recommender
from sid_jax.recommend.baselines import ItemKNN, Popularity, SemanticKNN, Transitions
from sid_jax.recommend.batch import Ranker
from sid_jax.recommend.cold.rankers import slot_rankers
from sid_jax.recommend.config import check_config
from sid_jax.recommend.data.content import content_of, content_settings, needs_content
from sid_jax.recommend.data.quantizer import train_ids
from sid_jax.recommend.data.split import EvaluationExamples
from sid_jax.recommend.data.task import Task, load_task
from sid_jax.recommend.evaluation.evaluate import Evaluation, evaluate
from sid_jax.recommend.evaluation.report import print_evaluations, print_samples
from sid_jax.recommend.joint.loop import train_jointly
from sid_jax.recommend.training.loop import Trained, train_recommender
from sid_jax.training.processes import agreed, is_first
from sid_jax.training.workdir import alone_in
from sid_jax.whole_file import write_json

RESULTS_FILE = "results.json"


def run(config: ConfigDict, workdir: Path, *, console: Console | None = None) -> list[Evaluation]:
    """Trains and tests a recommender; resumes the run if the workdir contains one.

    In a run of several data-parallel processes (see `sid_jax.training.processes`), only the first process prints and
    writes files.

    Args:
      config: from `sid_jax.recommend.config`, or from a file in `configs/`.
      workdir: folder for all files of the run. The training run is in a subfolder that is named after the model's kind.
        The trained recommender is in the subfolder `recommender`, which `sid_jax.load` reads. The metrics are in
        `results.json`. If the run trains a quantizer, its IDs are also in the workdir.
      console: where to print; standard output if None.

    Returns:
      The test results of the recommender, of each baseline, and, with `eval.cold_slots`, of each ranker with slots for
      cold items (see `slot_rankers`). The list is empty if the run was interrupted.

    Raises:
      UserError: if the config, the data or the workdir cannot be used.
    """
    console = (console or Console()) if is_first() else Console(quiet=True)
    with agreed():
        check_config(config)
        # The settings of the vectors are checked here, so that missing vectors are an error before training and not
        # after it.
        if needs_content(config):
            content_settings(config)
    with alone_in(workdir):
        return _run(config, workdir, console)


def _run(config: ConfigDict, workdir: Path, console: Console) -> list[Evaluation]:
    with agreed():
        task = prepare_task(config, workdir, console) if config.joint.estimator == "none" else None
    begun = train_configured(config, workdir, console, task=task)
    if begun is None or not begun[1].finished:
        return []
    task, trained = begun
    if config.joint.estimator != "none":
        task = _with_content(config, task)
    rankers: list[Ranker] = [trained.ranker]
    for name in config.eval.baselines:
        baseline = _baseline(name, config, task, workdir, console)
        if baseline is None:
            return []
        rankers.append(baseline)
    with_slots: list[Ranker] = []
    if config.eval.cold_slots:
        with_slots = slot_rankers(config, trained.candidates, trained.ranker)
    messages = Messages.to_console(console)
    evaluations = [ask_for_last_items(config, task, ranker, messages) for ranker in rankers]
    slotted = [ask_for_last_items(config, task, ranker, messages) for ranker in with_slots]
    validation = ask_for_cold_items(config, task, with_slots, messages)
    figures = _results(config, task, trained, [*evaluations, *slotted], validation)
    params = named_params(trained.ranker.params)
    made = TrainedRecommender(config, trained.candidates, params, trained.step, figures["test"][0])
    with agreed():
        if is_first():
            publish_recommender(made, workdir / FOLDER)
            write_json(workdir / RESULTS_FILE, {"config": config.to_dict(), **figures})
    print_samples(console, task, evaluations[0])
    print_evaluations(console, config, task, trained.ranker, evaluations, slotted)
    messages.line(f"The recommender is in {workdir / FOLDER}, and the metrics are in {workdir / RESULTS_FILE}")
    messages.line(f"Next, in Python: sid_jax.load({str(workdir / FOLDER)!r}).recommend([ITEM, ITEM, ...], k=10)")
    return [*evaluations, *slotted]


def prepare_task(config: ConfigDict, workdir: Path, console: Console) -> Task:
    """Returns the config's task. If `config.ids` is "rqvae", trains a quantizer, unless the workdir already has IDs."""
    trained_ids = train_ids(config, workdir, console) if config.ids == "rqvae" else None
    return load_task(config, trained_ids)


def train_configured(
    config: ConfigDict,
    workdir: Path,
    console: Console,
    *,
    task: Task | None = None,
    name: str = "",
    quiet: bool = False,
) -> tuple[Task, Trained] | None:
    """Trains the config's recommender, on fixed IDs or by joint training; returns its task and the trained model.

    Returns None if joint training was interrupted before its IDs were final. If `task` is None, the task is prepared.
    Joint training ignores `task`, and prepares its own.
    """
    if config.joint.estimator != "none":
        return train_jointly(config, workdir, console=console, name=name, quiet=quiet)
    task = task or prepare_task(config, workdir, console)
    folder = workdir / config.model.kind
    return task, train_recommender(config, task, folder, messages=Messages.to_console(console), name=name, quiet=quiet)


def ask_for_last_items(config: ConfigDict, task: Task, ranker: Ranker, messages: Messages | None = None) -> Evaluation:
    """Evaluates a recommender on every user's last item twice: with seen items excluded, and with seen items allowed.

    The result is the evaluation by the rule that `config.eval.exclude_seen` sets. Its attribute `other` is the
    evaluation by the opposite rule.
    """
    return _ask(config, ranker, task.split.test, both_rules=True, messages=messages)


def ask_for_cold_items(
    config: ConfigDict, task: Task, rankers: Sequence[Ranker], messages: Messages
) -> list[Evaluation]:
    """Evaluates recommenders on the users whose validation target, their second-to-last item, is cold.

    The results help to choose settings. The list is empty if there are no such users.
    """
    validation = task.split.validation
    users = np.flatnonzero(task.split.cold[validation.targets])
    return (
        [_ask(config, ranker, validation, users=users, messages=messages) for ranker in rankers] if len(users) else []
    )


def _ask(config: ConfigDict, ranker: Ranker, examples: EvaluationExamples, **which: Any) -> Evaluation:
    return evaluate(
        ranker,
        examples,
        window=config.model.window,
        batch_size=config.eval.batch_size,
        exclude_seen=config.eval.exclude_seen,
        **which,
    )


def sasrec_config(config: ConfigDict, name: str = "sasrec") -> ConfigDict:
    """Returns the settings with which the SASRec baseline `name` is trained.

    They are the run's settings, except for the kind of model and the settings in the baseline's section. This section
    is `esasrec` for "esasrec", and `sasrec` for "sasrec" and "sasrec_content".
    """
    changed = config.copy_and_resolve_references()
    changed.model.kind = "sasrec"
    if name == "sasrec_content":
        changed.model.kind, changed.model.item_parts = "scorer", ("content",)
        changed.model.blend, changed.model.members = (), 1
    changed.model.block = "ligr" if name == "esasrec" else "prenorm"
    for setting, value in config["esasrec" if name == "esasrec" else "sasrec"].items():
        section = changed.model if setting in changed.model else changed.train
        section[setting] = value
    return changed


def _with_content(config: ConfigDict, task: Task) -> Task:
    """Adds content vectors to the task of joint training, if the test needs them."""
    content = content_of(config, task.table.item_ids, task.split.cold)
    return dataclasses.replace(task, candidates=dataclasses.replace(task.candidates, content=content))


def _baseline(name: str, config: ConfigDict, task: Task, workdir: Path, console: Console) -> Ranker | None:
    """Returns a baseline, trained if it needs training; None if its training was interrupted."""
    if name == "popularity":
        return Popularity(task.split.train)
    if name == "item_knn":
        return ItemKNN.tuned(task.split.train)
    if name == "transitions":
        return Transitions(task.split.train)
    if name == "semantic_knn":
        assert task.candidates.content is not None  # `content_of` loads content for this baseline.
        return SemanticKNN(task.candidates.content)
    messages = Messages.to_console(console)
    title = {"sasrec": "SASRec-CE", "sasrec_content": "SASRec-CE of content", "esasrec": "eSASRec-CE"}[name]
    trained = train_recommender(sasrec_config(config, name), task, workdir / name, messages=messages, name=title)
    return trained.ranker if trained.finished else None


def _results(
    config: ConfigDict,
    task: Task,
    trained: Trained,
    evaluations: list[Evaluation],
    validation: list[Evaluation],
) -> dict[str, Any]:
    samples = config.eval.bootstrap_samples
    content: dict[str, Any] = {
        "step": trained.step,
        "invalid_ids": trained.ranker.num_invalid,
        "generated_ids": trained.ranker.num_generated,
        "test": [each.figures(samples) for each in evaluations],
    }
    if task.split.cold.any():
        cold = task.split.cold[task.split.test.targets]
        for figures, evaluation in zip(content["test"], evaluations, strict=True):
            for each in evaluation.rules:
                by_rule = figures if each is evaluation else figures[each.rule]
                by_rule |= {"cold": each.of_users(cold, samples), "others": each.of_users(~cold, samples)}
        content["validation_cold"] = [each.figures(samples) for each in validation]
    return content
