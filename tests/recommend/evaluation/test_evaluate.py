from __future__ import annotations

import numpy as np
import pytest

from sid_jax.recommend.data.split import EvaluationExamples
from sid_jax.recommend.evaluation.evaluate import LIST_LENGTH, evaluate
from sid_jax.recommend.evaluation.report import wrapped
from tests.data.test_histories import make


class Echo:
    """A ranker that recommends the items of each history, the last item first, and records the histories."""

    name = "echo"

    def __init__(self):
        self.shown = []

    def recommend(self, batch, count, exclude=None):
        lists = np.full((len(batch.lengths), count), -1, np.int32)
        for row, (items, length) in enumerate(zip(batch.items, batch.lengths, strict=True)):
            self.shown.append(tuple(items[:length].tolist()))
            found = [item for item in items[:length][::-1] if exclude is None or item not in exclude[row]]
            lists[row, : len(found)] = found
        return lists


SEQUENCES = [[1], [2, 3], [4, 5, 6, 7, 8, 9], [10, 11, 12], [13, 14, 15, 16, 17]]


def examples():
    return EvaluationExamples(make(*SEQUENCES, num_items=30), np.array([1, 2, 6, 20, 17], np.int32), 0)


def test_each_user_is_asked_with_the_end_of_the_own_history_whatever_its_length():
    echo = Echo()
    evaluation = evaluate(echo, examples(), window=4, batch_size=2, exclude_seen=False)
    assert evaluation.lists.shape == (5, LIST_LENGTH)
    assert set(echo.shown) == {tuple(sequence[-4:]) for sequence in SEQUENCES}
    assert evaluation.places.tolist() == [1, 2, 4, 0, 1]
    assert evaluation.metrics["recall@5"] == pytest.approx(0.8)


def test_a_sample_of_users_is_answered_in_its_order():
    users = np.array([0, 4])
    evaluation = evaluate(Echo(), examples(), window=4, batch_size=2, exclude_seen=False, users=users)
    assert evaluation.lists[:, 0].tolist() == [1, 17]


def test_both_rules_are_what_each_alone_is():
    shown = {"window": 4, "batch_size": 2}
    both = evaluate(Echo(), examples(), exclude_seen=True, both_rules=True, **shown)
    assert both.other is not None and (both.rule, both.other.rule) == ("seen excluded", "seen allowed")
    for each in both.rules:
        alone = evaluate(Echo(), examples(), exclude_seen=each.exclude_seen, **shown)
        np.testing.assert_array_equal(each.lists, alone.lists)
        assert each.metrics == alone.metrics and alone.other is None
    figures = both.figures(samples=10)
    assert figures["recall@5"] == 0 < figures["seen allowed"]["recall@5"] == pytest.approx(0.8)


def test_what_was_seen_before_the_window_is_excluded_too():
    class Everything(Echo):
        def recommend(self, batch, count, exclude=None):
            self.shown.append(exclude)
            return super().recommend(batch, count, exclude)

    ranker = Everything()
    evaluation = evaluate(ranker, examples(), window=4, batch_size=5, exclude_seen=True)
    assert (evaluation.places == 0).all()
    excluded = {
        tuple(row[row >= 0].tolist()) for block in ranker.shown if isinstance(block, np.ndarray) for row in block
    }
    assert excluded == set(map(tuple, SEQUENCES))


@pytest.mark.parametrize(("width", "num_breaks"), [(80, 0), (66, 1), (45, 2)])
def test_a_figure_with_its_interval_is_broken_into_lines_that_fit(width, num_breaks):
    cell = wrapped("0.0648 (0.0612–0.0684)", width, 3)
    assert cell.replace("–\n", "–").replace("\n", " ").replace("(", "").replace(")", "") == "0.0648 0.0612–0.0684"
    assert cell.count("\n") == num_breaks
