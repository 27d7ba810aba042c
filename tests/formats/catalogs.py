"""Draws small catalogs of every kind: any text, ids as text or as numbers, a single item, items with equal codes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from sid_jax.data.histories import Histories
from sid_jax.ids.table import IdTable

# Texts that could break a text file: separators, quotes, escapes, markup and white space.
_HARD = st.sampled_from(
    ["", " ", "\t", "a\tb", "line\nbreak", '"', 'say "x"', "'", "\\", "a,b", "<a_1>", "NaN", "日本 – é"]
)
_TEXTS = _HARD | st.text(st.characters(codec="utf-8"), max_size=8)
_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=6)


@dataclasses.dataclass(frozen=True, eq=False)
class Catalog:
    """An ID table with a column of titles, and histories of its items."""

    table: IdTable
    histories: Histories

    @property
    def codes(self) -> dict[str, list[int]]:
        """Each item's Semantic ID, by item id."""
        return by_item(self.table)

    @property
    def taken(self) -> dict[str, list[str]]:
        """Each user's items, by user id."""
        return by_user(self.histories)

    @property
    def titles(self) -> list[str]:
        """Each item's title, "" where there is none."""
        return [each or "" for each in self.table.columns["title"].to_pylist()]


def by_item(table: IdTable) -> dict[str, list[int]]:
    """Returns Semantic IDs by item id; the ids are strings, since text files do not distinguish numbers and strings."""
    return dict(zip(map(str, table.item_ids.tolist()), table.semantic_ids.tolist(), strict=True))


def by_user(histories: Histories) -> dict[str, list[str]]:
    """Returns each user's items by user id; all ids are strings."""
    ids = list(map(str, histories.item_ids.tolist()))
    users = map(str, histories.user_ids.tolist())
    return {user: [ids[item] for item in histories.of(row)] for row, user in enumerate(users)}


@st.composite
def catalogs(draw: st.DrawFn, levels: int | None = None, *, shared: bool = False, words: bool = False) -> Catalog:
    """Draws a catalog.

    Args:
      draw: Hypothesis's function that draws from a strategy.
      levels: the number of codes of an ID; None for any number.
      shared: whether several items may have the same ID.
      words: whether ids are single words.
    """
    texts = _WORDS if words else st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
    ids = draw(
        st.lists(texts, min_size=1, max_size=7, unique=True)
        | st.lists(st.integers(0, 2**53), min_size=1, max_size=7, unique=True)
    )
    length = levels or draw(st.integers(2, 4))
    each = st.tuples(*[st.integers(0, 9)] * length)
    codes = np.array(draw(st.lists(each, min_size=len(ids), max_size=len(ids), unique=not shared)))
    titles = draw(st.lists(st.none() | _TEXTS, min_size=len(ids), max_size=len(ids)))
    array = np.array(ids, np.int64 if isinstance(ids[0], int) else object)
    columns = pa.table({"title": pa.array(titles, pa.string())})
    table = IdTable(array, codes.astype(np.int32), columns=columns, name="drawn", shared=shared)
    lengths = draw(st.lists(st.integers(3, 6), min_size=1, max_size=4))
    items = draw(st.lists(st.integers(0, len(ids) - 1), min_size=sum(lengths), max_size=sum(lengths)))
    users = np.array([f"user {number}" for number in range(len(lengths))], object)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Catalog(table, Histories(users, offsets, np.array(items, np.int32), array))


def only(folder: Path, pattern: str) -> Path:
    """Returns the only file in a folder that matches a pattern."""
    (found,) = folder.glob(pattern)
    return found
