"""Differences between ID tables, on small examples."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from sid_jax.diff import compare, diff
from sid_jax.ids.table import IdTable
from sid_jax.messages import Messages
from tests.commands import refused, run


def table(ids, semantic_ids):
    return IdTable(np.array(ids), np.array(semantic_ids, np.int32), name="t", shared=True)


def test_each_figure_by_hand():
    old = table([1, 2, 3, 4], [[0, 0], [0, 1], [1, 0], [1, 1]])
    # Item 1 is unchanged, item 2 has the former ID of item 3, and item 3 has another last code. Item 4 is removed, and
    # the new item 5 has the ID of item 4.
    new = table([5, 3, 2, 1], [[1, 1], [1, 5], [1, 0], [0, 0]])
    found = compare(old, new)
    assert (found["num_old"], found["num_new"], found["num_common"], found["num_added"], found["num_gone"]) == (
        4, 4, 3, 1, 1,
    )  # fmt: skip
    assert found["num_changed"] == 2 and found["changed"] == pytest.approx(2 / 3)
    assert found["code_changed"] == pytest.approx([1 / 3, 2 / 3])
    assert found["prefix_kept"] == pytest.approx([2 / 3, 1 / 3])
    assert found["num_reassigned"] == 2


def test_names_alone_are_no_change_after_the_best_renumbering():
    random = np.random.default_rng(0)
    codes = random.integers(0, 6, (200, 3))
    names = [random.permutation(6) for _ in range(3)]
    renamed = np.stack([name[level] for name, level in zip(names, codes.T, strict=True)], axis=1)
    found = compare(table(range(200), codes), table(range(200), 10**6 * renamed))
    assert found["prefix_kept_renumbered"] == [1.0, 1.0, 1.0]
    assert found["code_changed"][0] > 0.5


def test_tables_without_a_common_item_and_of_other_lengths():
    old, new = table([1], [[0, 0]]), table([2], [[0, 0, 1]])
    assert compare(old, new)["changed"] is None and compare(old, new)["num_reassigned"] == 0
    longer = table([1], [[0, 0, 1]])
    assert compare(old, longer)["num_changed"] == 1
    assert compare(old, longer)["prefix_kept"] == [1.0, 1.0]


def test_one_changed_item_of_many_is_neither_none_nor_leaves_all(tmp_path):
    codes = {str(row): [row, 0] for row in range(4000)}
    for name, last in (("old", 0), ("new", 1)):
        (tmp_path / f"{name}.json").write_text(json.dumps(codes | {"7": [7, last]}))
    file = io.StringIO()
    messages = Messages.to_console(Console(file=file, width=120))
    diff(str(tmp_path / "old.json"), str(tmp_path / "new.json"), messages=messages)
    assert "1 item has a different ID in the new table (<0.1%); 0 old IDs" in file.getvalue()
    # No first code differs between the tables, and the second code of one of the 4,000 items differs.
    cells = [line.replace("│", " ").split() for line in file.getvalue().splitlines() if "%" in line][1:]
    assert cells == [["1", "0.0%", "100.0%", "100.0%"], ["2", "<0.1%", ">99.9%", ">99.9%"]]


def test_the_command(tmp_path):
    for name, last in (("old", 0), ("new", 3)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"a": [1, 2], "b": [2, last]}))
    words = [tmp_path / "old.json", tmp_path / "new.json"]
    result = run("-m", "sid_jax", "diff", *words, f"--json={tmp_path}/diff.json")
    assert result.returncode == 0, result.stderr
    assert "1 item has a different ID in the new table (50.0%)" in result.stdout
    assert json.loads((tmp_path / "diff.json").read_text())["num_changed"] == 1
    assert "give two" in refused(run("-m", "sid_jax", "diff", words[0]))
