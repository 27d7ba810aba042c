"""Makes the rows of training data: first as indices of users, interactions and items, then as texts."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from sid_jax.errors import UserError
from sid_jax.formats.content import Content, one_line
from sid_jax.llm.tasks import TASKS, USUAL_TASKS, Task
from sid_jax.streams import stream_rng

_NO_ITEMS = "items with a column {0} (--items), or an export with this column"
_NO_HISTORIES = "histories (--histories)"
# Probability that `item_dropout` leaves a training row complete. An incomplete row may have pairs of consecutive
# items that are consecutive in no history. Some complete rows are therefore needed.
_COMPLETE = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """E rows of one split, in the order in which they are written to files.

    Attributes:
      tasks: `[E]` int8, positions in the list of tasks.
      users: `[E]` int64, the number of each row's user in the histories; -1 for a row about a single item.
      first, last: `[E]` int64. The history is the interactions from `first` up to, but not including, `last`, and the
        interaction `last` is the answer. In a training row of the task "sequence", the question is the interaction
        `first`, and the answer is all later interactions up to `last`. For a row about a single item, `first` and
        `last` are both the item's row number in the ID table.
      wording: `[E]` int64, random numbers that choose among a task's prompts.
    """

    tasks: np.ndarray
    users: np.ndarray
    first: np.ndarray
    last: np.ndarray
    wording: np.ndarray

    def __len__(self) -> int:
        """Returns E."""
        return len(self.tasks)


class Examples:
    """Makes rows for some tasks from a catalog and its users' histories: first as indices, then as texts.

    Args:
      content: the items and histories.
      tasks: names of tasks.
      ids: text of each item's Semantic ID.
      max_history: maximum number of items in a history; earlier items are dropped.
      max_text: maximum number of characters of a title or description.
      copies: number of training rows for each answer of a task with histories, or for each user if the task is
        "sequence".
      item_dropout: probability that an item of a history is left out, in half of the training rows; see
        `write_training_data`.
      seed: seed of the order of training rows, their wording and the items that are left out.
    """

    def __init__(
        self,
        content: Content,
        tasks: list[str],
        ids: list[str],
        *,
        max_history: int,
        max_text: int,
        copies: int,
        item_dropout: float,
        seed: int,
    ):
        self.names, self._tasks = tasks, [TASKS[name] for name in tasks]
        self._content, self._ids, self._seed = content, ids, seed
        self._max_history, self._max_text = max_history, max_text
        self._copies, self._item_dropout = copies, item_dropout

    @functools.cached_property
    def _texts(self) -> dict[str, list[str]]:
        """The items' titles and descriptions, each on one line; "" for a missing text."""
        return {
            name: [one_line(text)[: self._max_text].rstrip() for text in self._content.texts(name)]
            for name in sorted(frozenset().union(*(task.texts for task in self._tasks)))
        }

    def rows(self, split: str) -> Rows:
        """Returns the rows of a split, in random order for training, and task by task for the other splits.

        A row about a single item is omitted if a text that the task needs is missing. A row about a history is omitted
        if the answer is a missing title, or if the prompt needs titles and no item of the history has one.
        """
        found = [self._rows_of(task, split) for task in self._tasks]
        tasks = np.concatenate([np.full(len(each[0]), number, np.int8) for number, each in enumerate(found)])
        users, first, last = (np.concatenate(each) for each in zip(*found, strict=True))
        wording = np.zeros(len(tasks), np.int64)
        if split != "train":
            return Rows(tasks, users, first, last, wording)
        random = stream_rng(self._seed, "llm/rows")
        order = random.permutation(len(tasks))
        wording = random.integers(0, 2**31, len(order))
        return Rows(tasks[order], users[order], first[order], last[order], wording)

    def _rows_of(self, task: Task, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the fields `users`, `first` and `last` of a task's rows."""
        has_text = {name: np.array(list(map(bool, texts))) for name, texts in self._texts.items()}
        if not task.of_users:
            there = np.ones(len(self._content.table), bool)
            for name in task.texts:
                there &= has_text[name]
            items = np.flatnonzero(there if split == "train" else np.zeros(len(there), bool))
            return np.full(len(items), -1), items, items
        histories = self._content.histories
        assert histories is not None
        users, places = self._content.targets(split, every=not task.whole)
        last = histories.offsets[users] + places
        first = np.maximum(histories.offsets[users], last - self._max_history)
        kept = np.ones(len(users), bool)
        if task.answer == "title":
            kept &= has_text["title"][histories.items[last]]
        if "titles" in task.fields:
            before = np.concatenate([[0], np.cumsum(has_text["title"][histories.items])])
            kept &= before[last] > before[first]
        copies = self._copies if split == "train" else 1
        return np.tile(users[kept], copies), np.tile(first[kept], copies), np.tile(last[kept], copies)

    def texts(self, rows: Rows, split: str, part: slice) -> tuple[list[str], list[str], np.ndarray]:
        """Returns questions and answers of some rows, and each answer's item as a row number of the ID table.

        `rows` are all rows of `split`, and the slice `part` selects some of them.
        """
        drops = split == "train" and self._item_dropout > 0
        random = stream_rng(self._seed, f"llm/item_dropout/{part.start}") if drops else None
        columns = (rows.tasks, rows.first, rows.last, rows.wording)
        pairs = [
            self._pair(self._tasks[task], first, last, wording, split, random)
            for task, first, last, wording in zip(*(each[part].tolist() for each in columns), strict=True)
        ]
        items = rows.last[part].copy()
        of_users = rows.users[part] >= 0
        if of_users.any():
            assert self._content.histories is not None
            items[of_users] = self._content.histories.items[items[of_users]]
        return [question for question, _ in pairs], [answer for _, answer in pairs], items

    def _pair(
        self, task: Task, first: int, last: int, wording: int, split: str, random: np.random.Generator | None
    ) -> tuple[str, str]:
        *history, item = self._items(task, first, last, random) if task.of_users else [first]
        if task.whole and split == "train":
            return self._ids[history[0]], "".join(self._ids[each] for each in (*history[1:], item))
        values = {name: self._field(name, history, item) for name in (*task.fields, task.answer)}
        return task.prompts[wording % len(task.prompts)].format(**values), values[task.answer]

    def _items(self, task: Task, first: int, last: int, random: np.random.Generator | None) -> list[int]:
        """Returns the history of a row and, as the last item, the answer; `random` draws the items to leave out.

        No item is left out if the draw would remove all items of the history, or all titles that the prompt needs.
        """
        assert self._content.histories is not None
        items = self._content.histories.items[first : last + 1]
        if random is None or random.random() < _COMPLETE:
            return items.tolist()
        kept = random.random(len(items)) >= self._item_dropout
        kept[-1] = True
        *history, item = items[kept].tolist()
        enough = any(self._texts["title"][each] for each in history) if "titles" in task.fields else bool(history)
        return [*history, item] if enough else items.tolist()

    def _field(self, name: str, history: list[int], item: int) -> str:
        if name == "history":
            return "".join(self._ids[each] for each in history)
        if name == "titles":
            return "\n".join(title for each in history if (title := self._texts["title"][each]))
        return self._ids[item] if name == "id" else self._texts[name][item]


def possible_tasks(content: Content, wanted: list[str] | None) -> list[str]:
    """Returns the requested tasks; by default, all usual tasks for which there is data.

    Raises:
      UserError: if a requested task lacks its data; or if no task is requested, and all usual tasks lack their data.
    """
    lacking = {name: _lack(content, TASKS[name]) for name in wanted or USUAL_TASKS}
    for name in wanted or ():
        if lacking[name]:
            raise UserError(f"the task {name} needs {lacking[name]}")
    possible = [name for name, lack in lacking.items() if not lack]
    if not possible:
        raise UserError(f"there is no training data; give {_NO_HISTORIES}, or {_NO_ITEMS.format('title')}")
    return possible


def _lack(content: Content, task: Task) -> str:
    """Returns a description of the data that a task needs and the content lacks; "" if nothing is missing."""
    if task.of_users and content.histories is None:
        return _NO_HISTORIES
    return next((_NO_ITEMS.format(name) for name in sorted(task.texts) if not any(content.texts(name))), "")
