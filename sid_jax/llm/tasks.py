"""The tasks on which a language model learns Semantic IDs, and the prompts of each task.

The tasks are those of LC-Rec (Zheng et al., 2311.09049) and MiniOneRec (Kong et al., 2510.24431).
"""

from __future__ import annotations

import dataclasses
import functools
import string

from sid_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Task:
    """A task: prompt templates with fields, and the field that is the answer.

    The field `{history}` contains the Semantic IDs of a user's items in time order, and `{titles}` contains the titles
    of these items. The fields `{id}`, `{title}` and `{description}` describe one item. If the prompt has `{history}` or
    `{titles}`, the answer is the ID or title of the next item.

    Attributes:
      prompts: alternative prompt templates; validation and test use the first one.
      answer: "id" or "title".
      whole: whether all training items of a user form one row, in which every item after the first is a target.
    """

    prompts: tuple[str, ...]
    answer: str = "id"
    whole: bool = False

    @functools.cached_property
    def fields(self) -> frozenset[str]:
        """The fields of the prompt."""
        return frozenset(name for _, name, _, _ in string.Formatter().parse(self.prompts[0]) if name)

    @functools.cached_property
    def of_users(self) -> bool:
        """Whether a row is about a user's history instead of a single item."""
        return not self.fields.isdisjoint(("history", "titles"))

    @functools.cached_property
    def texts(self) -> frozenset[str]:
        """The names of the items' texts that the task needs: "title", "description"."""
        used = {"titles": "title", "title": "title", "description": "description"}
        return frozenset(used[name] for name in (*self.fields, self.answer) if name in used)


TASKS = {
    "next_id": Task(
        (
            "A user chose these items, from the first to the last: {history}\nWhich item comes next?",
            "Here is a user's history in time order: {history}\nPredict the next item.",
            "{history}\nThese are the items of one user, the latest at the end. Name the item that follows.",
            "Someone who took {history} in this order is back. Recommend one item.",
            "Extend this sequence by one item: {history}",
        )
    ),
    "next_title": Task(
        (
            "A user chose these items, from the first to the last: {history}\nWhat is the title of the next one?",
            "Here is a user's history in time order: {history}\nPredict the title of the next item.",
            "{history}\nThese are the items of one user, the latest at the end. What is the item that follows called?",
            "Someone who took {history} in this order is back. Recommend one item by its title.",
            "Write the title of the item that extends this sequence: {history}",
        ),
        answer="title",
    ),
    "next_id_by_titles": Task(
        (
            "A user chose items with these titles, from the first to the last:\n{titles}\nWhich item comes next?",
            "Here is a user's history in time order, one title per line:\n{titles}\nPredict the next item.",
            "{titles}\nThese are the titles of one user's items, the latest at the end. Name the item that follows.",
            "Someone took the following, in this order:\n{titles}\nRecommend one item.",
            "Extend this list by the ID of one item:\n{titles}",
        )
    ),
    "id_to_title": Task(
        (
            "What is the title of the item {id}?",
            "{id} is an item of the catalog. What is it called?",
            "Write the title that belongs to {id}.",
            "Name the item {id} in words.",
        ),
        answer="title",
    ),
    "title_to_id": Task(
        (
            "Which item has this title?\n{title}",
            "{title}\nThat is the title of an item. What is its ID?",
            "Give the ID of the item called: {title}",
            "Find this item in the catalog: {title}",
        )
    ),
    "description_to_id": Task(
        (
            "Which item is described here?\n{description}",
            "{description}\nThat is the description of an item. What is its ID?",
            "Give the ID of the item with this description: {description}",
            "Find the item in the catalog that fits this text: {description}",
        )
    ),
    "sequence": Task(("{history}",), whole=True),
}
# All tasks except "sequence", which is for models that are trained from scratch: its rows are IDs without words.
USUAL_TASKS = tuple(name for name, task in TASKS.items() if not task.whole)


def prompt(task: str, **fields: str) -> str:
    """Returns the prompt for validation and test, such as `prompt("next_id", history=ids)`.

    Raises:
      UserError: if the task does not exist.
    """
    return checked_tasks([task])[0].prompts[0].format(**fields)


def as_text(task: str, question: str) -> str:
    """Returns a prompt for training data of the form "text" (docs/llm-data.md).

    The prompt ends with a line break, unless it consists of IDs alone.
    """
    return question if TASKS[task].whole else f"{question}\n"


def checked_tasks(names: list[str]) -> list[Task]:
    """Returns tasks by name.

    Raises:
      UserError: if there are no names, a task does not exist, or a name is repeated.
    """
    if not names:
        raise UserError(f"no task is given; choose from {', '.join(TASKS)}")
    unknown = [name for name in names if name not in TASKS]
    if unknown:
        raise UserError(f"there is no task {unknown[0]!r}; the tasks are {', '.join(TASKS)}")
    if len(set(names)) < len(names):
        raise UserError(f"tasks are {', '.join(names)}; list each task once")
    return [TASKS[name] for name in names]
