"""Evaluates a recommender on the next item of every user."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sid_jax.data.histories import Histories
from sid_jax.messages import Messages
from sid_jax.recommend.batch import HistoryBatch, Ranker, user_numbers
from sid_jax.recommend.data.split import EvaluationExamples
from sid_jax.recommend.evaluation.metrics import bootstrap_interval, ndcg_at, ranks, recall_at, reciprocal_rank, summary
from sid_jax.recommend.ranker import ModelRanker, first_allowed

# Length of a recommendation list. The mean reciprocal rank uses the whole list. Other metrics use the first 5 or 10.
LIST_LENGTH = 50
# The metrics that are means over users, and therefore have a bootstrap interval.
PER_USER = {
    "recall@5": lambda places: recall_at(places, 5),
    "recall@10": lambda places: recall_at(places, 10),
    "ndcg@5": lambda places: ndcg_at(places, 5),
    "ndcg@10": lambda places: ndcg_at(places, 10),
    "mrr": reciprocal_rank,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """A recommender's lists and metrics for E users, under one rule for seen items.

    Attributes:
      name: name of the recommender.
      exclude_seen: whether items of a user's history were excluded from the list.
      lists: `[E, 50]` int32 row numbers of items, the best first, padded with -1.
      places: `[E]` int32, rank of a user's target in the user's list, from 1; 0 if the target is not in the list.
      metrics: means over users, and coverage and entropy of all lists together.
      other: the evaluation of the same users under the other rule; None if there is none.
    """

    name: str
    exclude_seen: bool
    lists: np.ndarray
    places: np.ndarray
    metrics: dict[str, float]
    other: Evaluation | None = None

    @property
    def rules(self) -> tuple[Evaluation, ...]:
        """This evaluation, followed by the evaluation under the other rule if there is one."""
        return (self,) if self.other is None else (self, self.other)

    @property
    def rule(self) -> str:
        """The name of the rule for seen items."""
        return rule_name(self.exclude_seen)

    def interval(self, metric: str, samples: int) -> tuple[float, float]:
        """Returns the 95 % bootstrap interval over users of a metric in `PER_USER`."""
        return bootstrap_interval(PER_USER[metric](self.places), samples=samples)

    def figures(self, samples: int) -> dict[str, Any]:
        """Returns the metrics with their intervals.

        The results under the other rule are an entry that is named after that rule.
        """
        content: dict[str, Any] = {
            "name": self.name,
            "num_users": len(self.places),
            "rule": self.rule,
            **self.metrics,
            "intervals": {metric: self.interval(metric, samples) for metric in PER_USER},
        }
        if self.other is not None:
            content[self.other.rule] = self.other.figures(samples)
        return content

    def of_users(self, asked: np.ndarray, samples: int) -> dict[str, Any]:
        """Returns the metrics and intervals of the users for whom `asked`, `[E]` bool, is True.

        If there are no such users, the result has only the entry `num_users`, 0.
        """
        if not asked.any():
            return {"num_users": 0}
        each = {metric: of(self.places[asked]) for metric, of in PER_USER.items()}
        return {
            "num_users": int(asked.sum()),
            **{metric: float(values.mean()) for metric, values in each.items()},
            "intervals": {metric: bootstrap_interval(values, samples=samples) for metric, values in each.items()},
        }


def rule_name(exclude_seen: bool) -> str:
    """Returns the name of a rule for seen items."""
    return "seen excluded" if exclude_seen else "seen allowed"


def evaluate(
    ranker: Ranker,
    examples: EvaluationExamples,
    *,
    window: int,
    batch_size: int,
    exclude_seen: bool,
    both_rules: bool = False,
    users: np.ndarray | None = None,
    messages: Messages | None = None,
) -> Evaluation:
    """Evaluates a recommender on each user's next item, ranked among all items of the catalog.

    Args:
      ranker: the recommender.
      examples: histories and their targets.
      window: maximum history length; older items are dropped.
      batch_size: users per batch.
      exclude_seen: whether items of the user's whole history are excluded from the list.
      both_rules: whether to evaluate under the other rule for seen items too.
      users: `[n]` rows of the examples to evaluate; None for all.
      messages: where progress is shown; None shows no progress.
    """
    users = np.arange(len(examples.targets)) if users is None else users
    rules = (exclude_seen, not exclude_seen) if both_rules else (exclude_seen,)
    lists = np.full((len(rules), len(users), LIST_LENGTH), -1, np.int32)
    batches = _by_length(examples.histories.lengths[users], window, batch_size)
    title = f"testing {ranker.name}, users"
    with (messages or Messages.silent()).progress(title, len(batches) * batch_size, transient=True) as progress:
        for number, (chosen, width) in enumerate(batches, start=1):
            batch = _batch(examples.histories, users[chosen], width)
            lists[:, chosen] = _ask(ranker, batch, _seen(examples.histories, users[chosen]), rules)
            progress.move(number * batch_size)
    targets = examples.targets[users]
    evaluation = None
    for excluded, found in zip(rules[::-1], lists[::-1], strict=True):
        metrics = summary(found, targets, len(examples.histories.item_ids))
        evaluation = Evaluation(ranker.name, excluded, found, ranks(found, targets), metrics, evaluation)
    assert evaluation is not None  # `rules` is not empty, so the loop ran at least once.
    return evaluation


def _ask(ranker: Ranker, batch: HistoryBatch, seen: np.ndarray, rules: tuple[bool, ...]) -> list[np.ndarray]:
    """Returns the lists `[B, 50]` under each rule; a rule says whether the items `seen`, `[B, S]`, are excluded."""
    if len(rules) > 1 and isinstance(ranker, ModelRanker):
        # One search is enough for both rules: seen items are removed from longer lists afterwards.
        found = ranker.recommend(batch, LIST_LENGTH + seen.shape[1])
        allowed = first_allowed(found, np.zeros(found.shape, np.float32), seen, LIST_LENGTH)[0]
        return [allowed if excluded else found[:, :LIST_LENGTH] for excluded in rules]
    return [ranker.recommend(batch, LIST_LENGTH, seen if excluded else None) for excluded in rules]


def _by_length(lengths: np.ndarray, window: int, batch_size: int) -> list[tuple[np.ndarray, int]]:
    """Returns batches of users, and the width to which each batch's histories are padded.

    Short histories are in batches of their own, so that they are not padded to the length of long histories. There
    are only two widths and one batch size, so that few programs are compiled. The last batch of a width is completed by
    repeating users.
    """
    short = max(1, window // 4)
    batches = []
    for width, group in ((short, np.flatnonzero(lengths <= short)), (window, np.flatnonzero(lengths > short))):
        whole = np.resize(group, -(-len(group) // batch_size) * batch_size)
        batches += [(part, width) for part in whole.reshape(-1, batch_size)]
    return batches


def _batch(histories: Histories, users: np.ndarray, width: int) -> HistoryBatch:
    items, lengths = histories.padded(users, width)
    return HistoryBatch(items, lengths, user_numbers(histories.user_ids[users]))


def _seen(histories: Histories, users: np.ndarray) -> np.ndarray:
    items, lengths = histories.padded(users, int(histories.lengths[users].max()))
    return np.where(np.arange(items.shape[1]) < lengths[:, None], items, -1)
