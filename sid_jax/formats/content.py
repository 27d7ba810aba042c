"""What goes into another tool's files: items with their Semantic IDs and texts, and users with their histories."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sid_jax.data.histories import Histories
from sid_jax.data.numbered import ITEM_IDS_FILE, USER_IDS_FILE, write_ids
from sid_jax.data.tables import python_values
from sid_jax.data.text.template import value_text
from sid_jax.export.id_files import VOCABULARY_FILE
from sid_jax.ids.table import IdTable
from sid_jax.tokens.vocabulary import Vocabulary

# A history is divided into what is trained on, a validation target and a test target.
LEAST_INTERACTIONS = 3
SPLITS = ("train", "valid", "test")
# The columns that may have what tools call so, the first that is there.
_TEXTS = {
    "title": ("title", "name"),
    "description": ("description", "text"),
    "brand": ("brand", "store", "author"),
    "categories": ("categories", "category", "genres"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Content:
    """N items, and U users or none.

    Attributes:
      table: items, Semantic IDs and further columns. An item's number, where a tool wants one, is its row.
      histories: of users with at least 3 interactions, over the table's items; None if there are none to write.
      name: what the data set is called in the names of files.
      out: the folder that the files will be in.
      first_id: how many tokens the language model has, for tools that take token ids.
    """

    table: IdTable
    histories: Histories | None
    name: str
    out: Path
    first_id: int = 0

    @functools.cached_property
    def codes(self) -> list[list[int]]:
        """Each item's Semantic ID."""
        return self.table.semantic_ids.tolist()

    @functools.cached_property
    def sequences(self) -> list[list[int]]:
        """Each user's items by their numbers, in time order; none without histories."""
        if self.histories is None:
            return []
        return [each.tolist() for each in np.split(self.histories.items, self.histories.offsets[1:-1])]

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens of the IDs, after those that the language model has."""
        return Vocabulary(self.table.sizes, self.first_id)

    def texts(self, what: str) -> list[str]:
        """Returns each item's title, description, brand or categories, from the columns that there are; "" for none."""
        names = self.table.columns.column_names
        column = next((name for name in _TEXTS[what] if name in names), None)
        if column is None:
            return [""] * len(self.table)
        return ["" if value is None else value_text(value) for value in python_values(self.table.columns[column])]

    def tokens(self, pattern: str) -> list[list[str]]:
        """Returns each item's tokens; the pattern is `Vocabulary`'s."""
        levels = Vocabulary(self.table.sizes, pattern=pattern).levels
        return [[level[code] for level, code in zip(levels, row, strict=True)] for row in self.codes]

    def integer_ids(self, folder: Path) -> np.ndarray:
        """Returns each item's id as int64: its own if that is a number, else its row, which a list then explains."""
        ids = self.table.item_ids
        if ids.dtype.kind == "i":
            return ids.astype(np.int64)
        write_ids(folder / ITEM_IDS_FILE, self.table.arrow_ids)
        return np.arange(len(ids))

    def write_numbers(self, folder: Path) -> None:
        """Writes the lists that lead from numbers of items and users back to our ids."""
        write_ids(folder / ITEM_IDS_FILE, self.table.arrow_ids)
        if self.histories is not None:
            write_ids(folder / USER_IDS_FILE, self.histories.user_ids)

    def write_vocabulary(self, folder: Path) -> None:
        """Writes where each level's token ids begin."""
        vocabulary = self.vocabulary
        about = {"first_id": self.first_id, "sizes": vocabulary.sizes, "offsets": vocabulary.offsets}
        write_plain_json(folder / VOCABULARY_FILE, about)

    def examples(self, split: str, window: int | None = None) -> Iterator[tuple[int, list[int], int]]:
        """Yields a user, the last items of the history and the item that came next, as leave-one-out divides them.

        The test's target is each user's last item, the validation's the one before; training has all before these two,
        each item but the first a target once. With `window` None a user has one training example, the longest.
        """
        for user, items in enumerate(self.sequences):
            if split != "train":
                end = len(items) - (1 if split == "test" else 2)
                yield user, items[:end][-(window or end) :], items[end]
                continue
            last = len(items) - 3
            for end in range(last if window is None else 1, last + 1):
                if end > 0:
                    yield user, items[max(0, end - (window or end)) : end], items[end]


def write_plain_json(path: Path, value: Any) -> None:
    """Writes JSON as UTF-8, without escapes."""
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def one_line(text: str) -> str:
    """Returns a text with a blank for each run of blanks, tabs and line breaks."""
    return " ".join(text.split())
