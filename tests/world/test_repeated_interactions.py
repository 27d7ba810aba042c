"""Repeated interactions with an item, and interactions at the same time."""

import numpy as np
import pyarrow as pa
import pytest

from sid_jax.data.histories import Histories, offsets_of
from sid_jax.data.make_histories import histories_of_table
from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable
from sid_jax.recommend.config import default_config
from sid_jax.recommend.data.task import divide, make_task
from sid_jax.recommend.training.loop import opening, validation_excludes_seen

ITEMS = np.arange(10, 20)
TABLE = IdTable(ITEMS, np.stack([np.arange(10) // 5, np.arange(10) % 5], axis=1).astype(np.int32))


def config_of(*, exclude_seen):
    config = default_config()
    config.eval.exclude_seen, config.data.min_interactions = exclude_seen, 3
    return config


def task_of(config, *lists):
    rows = np.concatenate(lists).astype(np.int32)
    histories = Histories(np.arange(len(lists)), offsets_of(list(map(len, lists))), rows, ITEMS)
    return make_task(TABLE, divide(config, histories))


def test_a_test_in_which_most_targets_can_be_in_no_list_is_refused():
    config = config_of(exclude_seen=True)
    lists = [[0, 1, 2, 1], [3, 4, 5, 3], [6, 7, 8, 9]]
    with pytest.raises(
        UserError, match="2 of 3 users have a seen item as their last item.* set --config.eval.exclude_seen=False"
    ):
        task_of(config, *lists)
    config.eval.exclude_seen = False
    assert opening(config, task_of(config, *lists)).count("\n") == 0


def test_targets_that_can_be_in_no_list_are_counted():
    config = config_of(exclude_seen=True)
    told = opening(config, task_of(config, [0, 1, 2, 1], [3, 4, 5, 6], [6, 7, 7, 9]))
    assert "1 of 3 test targets are seen items" in told
    assert "1 of 3 validation targets are seen items" in told


def test_a_validation_in_which_most_targets_can_be_in_no_list_allows_seen_items():
    config = config_of(exclude_seen=True)
    task = task_of(config, [0, 1, 0, 5], [3, 4, 3, 6], [6, 7, 8, 9])
    assert not validation_excludes_seen(config, task)
    assert "The validation allows seen items" in opening(config, task)
    assert validation_excludes_seen(config, task_of(config, [0, 1, 2, 5], [3, 4, 3, 6]))


def test_the_order_of_a_files_rows_does_not_choose_the_test_target():
    rows = {"user": ["b", "b", "a", "b", "a", "b"], "item": [13, 12, 14, 11, 15, 10], "time": [5, 5, 1, 4, 2, 3]}
    read = []
    for order in (np.arange(6), np.arange(6)[::-1], np.array([1, 0, 5, 4, 2, 3])):
        table = pa.table(rows).take(pa.array(order))
        read.append(histories_of_table(table, ITEMS, "user", "item", "time", where="table"))
    assert len({each.fingerprint() for each in read}) == 1
    assert [ITEMS[read[0].of(user)].tolist() for user in range(2)] == [[14, 15], [10, 11, 12, 13]]
    assert [each.num_tied for each in read] == [2] * 3
    config = config_of(exclude_seen=False)
    told = opening(config, make_task(TABLE, divide(config, read[0])))
    assert "2 interactions have the same user and time as another one" in told
