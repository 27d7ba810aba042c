"""The content of another tool's files: items with Semantic IDs and texts, and users with interaction histories."""

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
from sid_jax.export.id_arrays import VOCABULARY_FILE
from sid_jax.ids.table import IdTable
from sid_jax.messages import Messages
from sid_jax.tokens.vocabulary import Vocabulary

# A history is split into training items, a validation target and a test target.
LEAST_INTERACTIONS = 3
SPLITS = ("train", "valid", "test")
# Number of rows after which the progress bar moves.
_BETWEEN_UPDATES = 1024
# For each text field of the tools, the names of columns that may have this text. The first column that exists is used.
_TEXTS = {
    "title": ("title", "name"),
    "description": ("description", "text"),
    "brand": ("brand", "store", "author"),
    "categories": ("categories", "category", "genres"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Content:
    """N items, and the U users of the histories, if there are histories.

    Attributes:
      table: items, Semantic IDs and other columns. For tools that number the items, an item's number is its row.
      histories: histories of the users with at least 3 interactions, restricted to the table's items; None if no
        histories are written.
      name: name of the data set in file names.
      out: the folder in which the files will be.
      first_id: token id of the first token of the Semantic IDs. The language model's own tokens have the ids below it.
        Only tools that need token ids use this number.
    """

    table: IdTable
    histories: Histories | None
    name: str
    out: Path
    first_id: int = 0
    messages: Messages = dataclasses.field(default_factory=Messages.silent)

    @functools.cached_property
    def codes(self) -> list[list[int]]:
        """Each item's Semantic ID."""
        return self.table.semantic_ids.tolist()

    @functools.cached_property
    def sequences(self) -> list[list[int]]:
        """Each user's item numbers, in time order; [] without histories."""
        if self.histories is None:
            return []
        return [each.tolist() for each in np.split(self.histories.items, self.histories.offsets[1:-1])]

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens of the IDs, numbered after the language model's own tokens."""
        return Vocabulary(self.table.sizes, self.first_id)

    def texts(self, what: str) -> list[str]:
        """Returns each item's text for the field `what`, a key of `_TEXTS`; "" if the item or the table lacks it."""
        names = self.table.columns.column_names
        column = next((name for name in _TEXTS[what] if name in names), None)
        if column is None:
            return [""] * len(self.table)
        return ["" if value is None else value_text(value) for value in python_values(self.table.columns[column])]

    def tokens(self, pattern: str) -> list[list[str]]:
        """Returns the tokens of each item's Semantic ID, as text in the given pattern (see `Vocabulary`)."""
        levels = Vocabulary(self.table.sizes, pattern=pattern).levels
        return [[level[code] for level, code in zip(levels, row, strict=True)] for row in self.codes]

    def integer_ids(self, folder: Path) -> np.ndarray:
        """Returns the items' int64 ids; if the ids are text, returns row numbers and writes the ids to `folder`."""
        ids = self.table.item_ids
        if ids.dtype.kind == "i":
            return ids.astype(np.int64)
        write_ids(folder / ITEM_IDS_FILE, self.table.arrow_ids)
        return np.arange(len(ids))

    def write_numbers(self, folder: Path) -> None:
        """Writes the lists that map item and user numbers to ids."""
        write_ids(folder / ITEM_IDS_FILE, self.table.arrow_ids)
        if self.histories is not None:
            write_ids(folder / USER_IDS_FILE, self.histories.user_ids)

    def write_vocabulary(self, folder: Path) -> None:
        """Writes the size and the first token id of each level."""
        vocabulary = self.vocabulary
        about = {"first_id": self.first_id, "sizes": vocabulary.sizes, "offsets": vocabulary.offsets}
        write_plain_json(folder / VOCABULARY_FILE, about)

    def examples(self, split: str, window: int | None = None) -> Iterator[tuple[int, list[int], int]]:
        """Yields leave-one-out examples: a user, the items before the target (at most `window`), and the target.

        The test target is each user's last item, and the validation target is the item before it. The training targets
        are all earlier items except the user's first item. If `window` is None, all items before the target are
        included, and only the last training target of each user is used.
        """
        users, places = self.targets(split, every=window is not None)
        with self.messages.progress(f"writing, rows of {split}", len(users), transient=True) as progress:
            for row, (user, place) in enumerate(zip(users.tolist(), places.tolist(), strict=True)):
                if row % _BETWEEN_UPDATES == 0:
                    progress.move(row)
                items = self.sequences[user]
                yield user, items[max(0, place - (window or place)) : place], items[place]

    def targets(self, split: str, every: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Returns the leave-one-out targets of a split, user by user; see `examples`.

        Args:
          split: "train", "valid" or "test".
          every: for the split "train", True makes every training item except a user's first item a target, and False
            only the user's last training item.

        Returns:
          `[E]` int64 each: for each target, the row of its user in `histories`, and its position in the user's history.
        """
        lengths = np.zeros(0, np.int64) if self.histories is None else self.histories.lengths
        # For each user, the position of the split's last target in the history.
        last = lengths - 1 - SPLITS[::-1].index(split)
        counts = last.clip(0) if every and split == "train" else (last > 0).astype(np.int64)
        users = np.repeat(np.arange(len(lengths)), counts)
        later = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(users))
        return users, last[users] - later


def write_plain_json(path: Path, value: Any) -> None:
    """Writes JSON as UTF-8; characters outside ASCII are not escaped."""
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def one_line(text: str) -> str:
    """Returns a text in which each sequence of spaces, tabs and line breaks is replaced by one space."""
    return " ".join(text.split())
