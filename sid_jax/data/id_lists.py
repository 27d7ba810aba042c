"""Item ids: no two alike, found in a catalog, and named in a text file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.errors import UserError, reason, shown
from sid_jax.messages import LOGGER

# `[n]` names of items, or what gives one by its place.
Names: TypeAlias = Sequence[Any] | np.ndarray | Callable[[int], Any]

ON_UNKNOWN = ("error", "drop")
# What leaves out unknown items in the commands that have a config.
UNKNOWN_OPTION = "--config.data.on_unknown=drop"
# How ids of one item come to be written in two ways, by what makes them alike again.
_SPELLINGS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("leading zeros", lambda text: text.lstrip("0") or "0"),
    ("a decimal point", lambda text: text.removesuffix(".0")),
    ("blanks or capitals", lambda text: text.strip().casefold()),
)
_MOST_COMPARED = 10_000
# As Python writes whole numbers, so that nothing is lost, and within int64.
_NUMBER = re.compile("0|-?[1-9][0-9]{0,17}")


def read_item_list(path: Path, item_ids: np.ndarray, on_unknown: str = "error", option: str = "") -> np.ndarray:
    """Reads which items a UTF-8 text file names, one id a line.

    Args:
      path: the file.
      item_ids: `[N]` ids of the catalog, int64 or object (str); an id in the file is matched against their text.
      on_unknown, option: as of `known_items`.

    Returns:
      `[N]` bool.

    Raises:
      UserError: if the file is missing or empty, or an item is not in the catalog and may not be left out.
    """
    names = read_id_list(path)
    rows = catalog_rows(names, item_ids)
    known = known_items(
        rows, item_ids, on_unknown, lambda place: f"{path}: line {place + 1}: item {names[place]!r}", names, option
    )
    named = np.zeros(len(item_ids), bool)
    named[rows[known]] = True
    return named


def read_id_list(path: Path, *, allow_empty: bool = False) -> list[str]:
    """Returns the ids in a UTF-8 file, one a line, without blanks around them; else as `read_lines`."""
    return [line.strip() for line in read_lines(path, allow_empty=allow_empty)]


def check_cold(cold: np.ndarray, where: str) -> np.ndarray:
    """Returns `[N]` bool, the items that are not trained on; raises UserError if they are all there are."""
    if cold.all():
        raise UserError(f"{where}: names every item, so that none is left to train on")
    return cold


def read_lines(path: Path, *, allow_empty: bool = False) -> list[str]:
    """Returns the lines of a UTF-8 file, without empty ones at its end; UserError if it is unreadable or empty."""
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({reason(error)}); give a text file") from error
    if not text and not allow_empty:
        raise UserError(f"{path}: is empty; give a file with a line for each entry")
    return text.split("\n") if text else []


def numbers_if_whole(ids: Sequence[str]) -> np.ndarray:
    """Returns ids `[n]` as int64 if Python would write each of them so ("007" stays text), else as object (str)."""
    whole = all(map(_NUMBER.fullmatch, ids))
    return np.array([int(item) for item in ids], np.int64) if whole else np.array(ids, dtype=object)


def catalog_rows(names: Iterable[str], item_ids: np.ndarray) -> np.ndarray:
    """Returns the rows of `[N]` item ids whose text the n names are: `[n]` int32, -1 for a name that is none."""
    row_of = {str(item_id): row for row, item_id in enumerate(item_ids.tolist())}
    return np.fromiter((row_of.get(name, -1) for name in names), np.int32)


def known_items(
    rows: np.ndarray,
    item_ids: np.ndarray,
    on_unknown: str,
    describe: Callable[[int], str],
    names: Names,
    option: str = "",
) -> np.ndarray:
    """Returns `[n]` bool, which of n items are in the catalog.

    Args:
      rows: `[n]` from `catalog_rows`.
      item_ids: `[N]` ids of the catalog.
      on_unknown: "error" refuses other items; "drop", or "skip", leaves them out and says how many in a warning.
      describe: from a place in `rows` to words: the file, the line or row, and the item's name.
      names: the items' names `[n]`, or what gives one by its place.
      option: what leaves unknown items out, as an error is to name it.

    Raises:
      UserError: if `on_unknown` is neither; or if there are other items, and it is "error" or there are no others.
    """
    is_dropped = dropped(on_unknown)
    known = rows >= 0
    if known.all():
        return known
    strange = np.flatnonzero(~known)
    name = names if callable(names) else names.__getitem__
    unknown = list(dict.fromkeys(str(name(int(place))) for place in strange[:_MOST_COMPARED].tolist()))
    cause = likely_cause(unknown, rows[known], item_ids)
    counted = f"{len(strange)} of {len(rows)} items are not"
    if is_dropped and known.any():
        more = f"; {cause}" if cause else ""
        LOGGER.warning("%s is not in the catalog; in all, %s, and were left out%s", describe(strange[0]), counted, more)
        return known
    leaving = f"leave them out{f' ({option})' if option else ''}, or add them to the catalog"
    raise UserError(
        f"{describe(int(strange[0]))} is not in the catalog, whose ids are like {str(item_ids[0])!r}; in all, "
        f"{counted}: {cause or leaving}"
    )


def dropped(on_unknown: str) -> bool:
    """Returns whether unknown items are left out; UserError for a word that says neither that nor "error"."""
    if on_unknown not in (*ON_UNKNOWN, "skip"):
        raise UserError(f"on_unknown={on_unknown!r}: choose one of {', '.join(ON_UNKNOWN)}")
    return on_unknown != "error"


def some_unknown(ids: np.ndarray, known: np.ndarray) -> list[str]:
    """Returns ids `[n]` in other rows than the `known` ones, as text for `likely_cause`; of very many not all."""
    return list(map(str, np.delete(ids, known)[:_MOST_COMPARED].tolist()))


def likely_cause(unknown: Sequence[str], found: np.ndarray, item_ids: np.ndarray) -> str:
    """Returns why ids may not be in a catalog, and what to do; "" where nothing but their absence can be told.

    Args:
      unknown: distinct ids that are not in the catalog, as text, at least one.
      found: `[n]` rows of the catalog that were named beside these.
      item_ids: `[N]` ids of the catalog, int64 or object (str).
    """
    ids = item_ids.tolist()
    if not ids:
        return "it has no items"
    if base := _other_base(unknown, found, item_ids):
        return base
    for difference, plain in _SPELLINGS:
        own = {plain(str(item_id)): item_id for item_id in ids}
        twins = [(name, own[plain(name)]) for name in unknown if plain(name) in own]
        if 2 * len(twins) >= len(unknown):
            return f"{twins[0][0]!r} differs from {twins[0][1]!r} by {difference}: write ids alike in both"
    if len(found):
        return ""
    kinds = ["numbers" if all(map(_NUMBER.fullmatch, texts)) else "text" for texts in (unknown, map(str, ids))]
    differ = f", {kinds[0]} here and {kinds[1]} there" if kinds[0] != kinds[1] else ""
    return f"none is, so they seem to be ids of another kind{differ}: name the column, or the file, with the same ids"


def _other_base(unknown: Sequence[str], found: np.ndarray, item_ids: np.ndarray) -> str:
    """Says that ids are numbered from another first one, if the last is unknown and the first is not named."""
    texts = item_ids.tolist()
    if len(unknown) > 1 or not len(found) or not all(_NUMBER.fullmatch(str(text)) for text in texts):
        return ""
    numbers = np.array(list(map(int, texts)))
    low, high, has = int(numbers.min()), int(numbers.max()), set(numbers[found].tolist())
    if high - low + 1 > len(numbers):
        return ""
    for name, missed, first in ((high + 1, low, low + 1), (low - 1, high, low - 1)):
        if unknown[0] == str(name) and missed not in has:
            return (
                f"they seem to be numbered from {first}, and the catalog from {low}, which makes every item another "
                "one: number both alike, and leave nothing out"
            )
    return ""


def check_unique(ids: np.ndarray, where: str) -> None:
    """Raises UserError, naming the first id that came before and its two rows, unless all `[N]` ids differ."""
    if ids.dtype.kind in "iu" and np.all(ids[1:] > ids[:-1]):
        return  # As row numbers are: without a table of all of them.
    if pc.count_distinct(pa.array(ids)).as_py() == len(ids):
        return
    first_row: dict[object, int] = {}
    for row, item_id in enumerate(ids.tolist()):
        if item_id in first_row:
            raise UserError(
                f"{where}: id {shown(item_id)} is in row {first_row[item_id]} and again in row {row} (rows count from "
                "0); give each item one row"
            )
        first_row[item_id] = row
