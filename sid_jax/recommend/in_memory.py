"""Trains and evaluates a recommender on histories and vectors of any supported type, for the Python API."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from sid_jax.buckets.mirror import workdir_of
from sid_jax.data.histories import Histories, keep_active
from sid_jax.data.inputs import as_histories
from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable
from sid_jax.messages import Messages
from sid_jax.recommend.artifact import TrainedRecommender, named_params
from sid_jax.recommend.baselines import ItemKNN, Popularity
from sid_jax.recommend.data.content import content_in_memory, content_of, uses_content
from sid_jax.recommend.data.split import leave_one_out
from sid_jax.recommend.data.task import Task, divide, make_task
from sid_jax.recommend.evaluation.report import EvaluationReport
from sid_jax.recommend.run import ask_for_last_items
from sid_jax.recommend.training import loop


def fitted(
    config: ConfigDict,
    table: IdTable,
    histories: Any,
    vectors: Any,
    *,
    on_unknown: str,
    workdir: str | Path | None,
    verbose: bool,
) -> tuple[TrainedRecommender, Task]:
    """Returns a recommender trained on histories, and its task; see `sid_jax.recommender.Recommender.fit`."""
    # The log is set up before the histories are read, so that warnings about them have the same format as all others.
    messages = Messages.to_logging(verbose=verbose)
    given = _histories(config, table, histories, on_unknown)
    split = divide(config, given)
    task = make_task(table, split, content=_content(config, table, vectors, split.cold))
    with contextlib.nullcontext() if workdir is None else workdir_of(workdir) as root:
        folder = None if root is None else root / config.model.kind
        run = loop.train_recommender(config, task, folder, messages=messages)
    if not run.finished:
        raise KeyboardInterrupt("training was interrupted")
    return TrainedRecommender(config, run.candidates, named_params(run.ranker.params), run.step), task


def evaluated(trained: TrainedRecommender, task: Task | None, histories: Any, verbose: bool) -> EvaluationReport:
    """Returns the metrics on each user's last item; see `sid_jax.recommender.Recommender.evaluate`.

    Args:
      trained: the recommender.
      task: the task on which the recommender was trained, used if `histories` is None; None if it is unknown.
      histories, verbose: see `Recommender.evaluate`.
    """
    config, candidates = trained.config, trained.candidates
    if histories is not None:
        given = _histories(config, candidates.table, histories, "drop")
        task = Task(candidates, leave_one_out(keep_active(given, config.data.min_interactions), candidates.cold))
    if task is None:
        raise UserError("a loaded recommender has no histories; call evaluate(histories)")
    rankers = (trained.ranker, Popularity(task.split.train), ItemKNN.tuned(task.split.train))
    return EvaluationReport(
        tuple(ask_for_last_items(config, task, ranker, Messages.to_logging(verbose)) for ranker in rankers),
        num_items=len(candidates.table),
        samples=config.eval.bootstrap_samples,
    )


def _histories(config: ConfigDict, table: IdTable, histories: Any, on_unknown: str) -> Histories:
    columns = {name: config.data[name] for name in ("user_column", "item_column", "time_column")}
    return as_histories(histories, table.item_ids, on_unknown=on_unknown, **columns)


def _content(config: ConfigDict, table: IdTable, vectors: Any, cold: np.ndarray) -> np.ndarray | None:
    """Returns the items' content vectors `[N, D]`, of length 1; None if they are not used or not available."""
    if vectors is None:
        return content_of(config, table.item_ids, cold, remedy="give `fit`")
    if not uses_content(config, bool(cold.any())):
        return None
    return content_in_memory(vectors, table.item_ids, cold, config.quantizer.data)
