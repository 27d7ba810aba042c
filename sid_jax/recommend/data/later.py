"""A task whose catalog has gone on: items that came after training, and others that left."""

from __future__ import annotations

import dataclasses

import numpy as np

from sid_jax.data.histories import item_counts
from sid_jax.errors import UserError
from sid_jax.ids.convert import common_rows
from sid_jax.ids.table import IdTable
from sid_jax.ids.trie import build_trie
from sid_jax.recommend.data.task import Task


def with_later_table(task: Task, later: IdTable) -> Task:
    """Returns the task over a later version of its table, for a model that was trained on the task as it was.

    Items of the task keep their rows, so that histories may name them all; new ones follow, as cold as those that were
    kept out of training. Only items that the later version has may be recommended.

    Args:
      task: as the model was trained on it.
      later: IDs of items that are there now, in any order.

    Raises:
      UserError: if it is no later version of the same table, or has a code that the model does not know.
    """
    old = task.table
    ours, theirs = common_rows(old.item_ids, later.item_ids)
    _refuse_another_table(old, later, ours, theirs)
    is_new = np.ones(len(later.item_ids), bool)
    is_new[theirs] = False
    _refuse_unknown_codes(later, np.flatnonzero(is_new), task.trie.sizes)
    table = _followed_by(old, later, np.flatnonzero(is_new))
    coming = (0, int(is_new.sum()))
    cold = np.pad(task.split.cold, coming, constant_values=True)
    there = np.append(ours, np.arange(len(old.item_ids), len(cold)))
    known = there[~cold[there]]
    if not len(known):
        raise UserError(f"{later.name}: has none of the items that the recommender was trained on")
    popularity = np.pad(item_counts(task.split.train), coming)
    ids, sizes = table.semantic_ids, task.trie.sizes
    return Task(
        table,
        dataclasses.replace(task.split, cold=cold),
        build_trie(ids, sizes, popularity, there),
        build_trie(ids, sizes, popularity, known),
    )


def _refuse_another_table(old: IdTable, later: IdTable, ours: np.ndarray, theirs: np.ndarray) -> None:
    levels, expected = later.semantic_ids.shape[1], old.semantic_ids.shape[1]
    if levels != expected:
        raise UserError(
            f"{later.name}: its Semantic IDs have {levels} codes, those that the recommender was trained on "
            f"{expected}; give a version that sid-jax export --append_to made of these"
        )
    moved = np.flatnonzero((old.semantic_ids[ours] != later.semantic_ids[theirs]).any(axis=1))
    if len(moved):
        row = ours[moved[0]]
        raise UserError(
            f"{later.name}: {len(moved)} items have other Semantic IDs than the recommender was trained on, the first "
            f"is {old.item_ids[[row]].tolist()[0]!r}, {later.semantic_ids[theirs[moved[0]]].tolist()} there and "
            f"{old.semantic_ids[row].tolist()} in the run; give a version that sid-jax export --append_to made of these"
        )


def _refuse_unknown_codes(later: IdTable, new: np.ndarray, sizes: tuple[int, ...]) -> None:
    unknown = np.argwhere(later.semantic_ids[new] >= np.array(sizes))
    if len(unknown):
        (row, level), number = unknown[0], len(np.unique(unknown[:, 0]))
        raise UserError(
            f"{later.name}: {number} new items have codes that the recommender was not trained with, the first is "
            f"{later.item_ids[[new[row]]].tolist()[0]!r}, whose code {later.semantic_ids[new[row], level]} at level "
            f"{level} is not below {sizes[level]}; train on this version, or leave such items out"
        )


def _followed_by(old: IdTable, later: IdTable, new: np.ndarray) -> IdTable:
    titles = None
    if old.titles is not None or later.titles is not None:
        titles = np.concatenate([_titles(old), _titles(later)[new]])
    return IdTable(
        np.concatenate([old.item_ids, later.item_ids[new]]),
        np.concatenate([old.semantic_ids, later.semantic_ids[new]]),
        columns=None if titles is None else {"title": titles},
        name=old.name,
        shared=True,
    )


def _titles(table: IdTable) -> np.ndarray:
    return np.full(len(table.item_ids), None) if table.titles is None else table.titles
