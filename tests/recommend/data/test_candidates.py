"""A newer version of an ID table: items keep their rows, new items follow, and unrelated tables are rejected."""

from __future__ import annotations

import numpy as np
import pytest

from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable
from sid_jax.recommend.data.task import load_task
from tests.recommend.conftest import NUM_ITEMS


@pytest.fixture
def task(config, world, tmp_path):
    (world / "cold.txt").write_text("3\n5\n")
    config.data.cold_items = str(world / "cold.txt")
    return load_task(config)


def newer_table(task, items, new_codes, titles=None):
    """Returns a table of the task's `items` and new items 100, 101, …, whose IDs are `new_codes`; rows are reversed."""
    ids = np.append(items, 100 + np.arange(len(new_codes)))
    codes = np.concatenate([task.table.semantic_ids[items], np.array(new_codes, np.int32).reshape(-1, 2)])
    columns = None if titles is None else {"title": titles}
    return IdTable(ids[::-1], codes[::-1], columns=columns, name="next", shared=True)


def test_rows_stay_and_what_may_be_recommended_is_what_is_there(task):
    items = np.setdiff1d(np.arange(NUM_ITEMS), [4, 5])
    newer = task.candidates.with_newer_table(newer_table(task, items, [[2, 7], [0, 0]]))
    np.testing.assert_array_equal(newer.table.item_ids[:NUM_ITEMS], task.table.item_ids)
    np.testing.assert_array_equal(newer.table.semantic_ids[:NUM_ITEMS], task.table.semantic_ids)
    new = zip(newer.table.item_ids[NUM_ITEMS:].tolist(), newer.table.semantic_ids[NUM_ITEMS:].tolist(), strict=True)
    assert dict(new) == {100: [2, 7], 101: [0, 0]}
    named = newer.table.item_ids[np.asarray(newer.trie.items)]
    assert set(named) == {*items.tolist(), 100, 101}
    assert set(newer.table.item_ids[np.asarray(newer.known.items)]) == set(items.tolist()) - {3}
    assert set(newer.table.item_ids[newer.cold]) == {3, 5, 100, 101}
    assert newer.trie.sizes == newer.known.sizes == task.trie.sizes


def test_titles_are_kept_and_come_along(task):
    newer = newer_table(task, np.arange(NUM_ITEMS), [[0, 0]], np.array([f"t{row}" for row in range(41)], object))
    assert task.candidates.with_newer_table(newer).table.titles.tolist() == [None] * NUM_ITEMS + ["t0"]


def test_another_table_is_refused(task):
    everyone = np.arange(NUM_ITEMS)
    longer = IdTable(everyone, np.zeros((NUM_ITEMS, 3), np.int32), name="next", shared=True)
    moved = newer_table(task, everyone, [])
    moved.semantic_ids[3] = 0
    for table, words in (
        (longer, "next: its Semantic IDs have 3 codes, but the recommender was trained on IDs of 2"),
        (
            moved,
            r"next: 1 items have other .* the first one is 36, with \[0, 0\] in the table and \[4, 4\] in training",
        ),
        (
            newer_table(task, everyone, [[0, 8]]),
            r"1 new items have codes .* is 100, whose code 8 at level 2 is not one of the 8 codes that the",
        ),
        (newer_table(task, [3], [[0, 0]]), "none of the items that the recommender was trained on"),
    ):
        with pytest.raises(UserError, match=words):
            task.candidates.with_newer_table(table)
