"""Reads lists of item ids from text files, finds ids in a catalog, and checks that ids are distinct."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.data.file_content import check_content
from sid_jax.errors import UserError, reason, shown
from sid_jax.messages import LOGGER

# `[n]` names of items, or a function from position to name.
Names: TypeAlias = Sequence[Any] | np.ndarray | Callable[[int], Any]

# Treatments of items that are not in the catalog; "skip" is another name for "drop".
ON_UNKNOWN = ("error", "drop", "skip")
# The option that drops unknown items in commands with a config.
UNKNOWN_OPTION = "--config.data.on_unknown=drop"
# Common differences in the spelling of one id, and functions that remove them.
_SPELLINGS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("leading zeros", lambda text: text.lstrip("0") or "0"),
    ("a decimal point", lambda text: text.removesuffix(".0")),
    ("spaces or upper case", lambda text: text.strip().casefold()),
)
_MOST_COMPARED = 10_000
# Matches integers of at most 18 digits without leading zeros: "7", but not "007". They fit int64, and the conversion of
# such a text to an integer and back gives the same text.
_NUMBER = re.compile("0|-?[1-9][0-9]{0,17}")


def read_item_list(path: Path, item_ids: np.ndarray, on_unknown: str = "error", option: str = "") -> np.ndarray:
    """Returns a mask of the items that a UTF-8 text file names, with one id per line.

    Args:
      path: the file.
      item_ids: `[N]` ids of the catalog, int64 or object (str); ids in the file are matched by their text.
      on_unknown, option: see `known_items`.

    Returns:
      `[N]` bool.

    Raises:
      UserError: see `numbered_lines` and `known_items`.
    """
    lines = numbered_lines(path)
    names = [text for _, text in lines]
    rows = catalog_rows(names, item_ids)
    known = known_items(
        rows,
        item_ids,
        on_unknown,
        lambda place: f"{path}: line {lines[place][0]}: item {names[place]!r}",
        names,
        option,
    )
    named = np.zeros(len(item_ids), bool)
    named[rows[known]] = True
    return named


def read_id_list(path: Path, *, allow_empty: bool = False) -> list[str]:
    """Returns the ids in a UTF-8 file, one per line, without surrounding spaces.

    Raises:
      UserError: see `numbered_lines`.
    """
    return [text for _, text in numbered_lines(path, allow_empty=allow_empty)]


def check_cold(cold: np.ndarray, where: str) -> np.ndarray:
    """Returns the mask `[N]` bool of cold items unchanged; raises UserError if it covers all items."""
    if cold.all():
        raise UserError(f"{where}: lists every item, so no item is left to train on; remove some ids")
    return cold


def numbered_lines(path: Path, *, allow_empty: bool = False, content: str = "one id per line") -> list[tuple[int, str]]:
    """Returns each non-empty line of a UTF-8 file: its number, from 1, and its text without surrounding spaces.

    `content` is what the file should contain, for error messages.

    Raises:
      UserError: if the file is missing or not UTF-8, or if it has only empty lines and `allow_empty` is False.
    """
    check_content(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or reason(error)}; give a text file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({reason(error)}); save it as UTF-8") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines and not allow_empty:
        raise UserError(f"{path}: empty; give a file with {content}")
    return lines


def numbers_if_whole(ids: Sequence[str]) -> np.ndarray:
    """Returns ids `[n]` as int64 if all are written like Python integers ("7", not "007"), else as object (str)."""
    whole = all(map(_NUMBER.fullmatch, ids))
    return np.array([int(item) for item in ids], np.int64) if whole else np.array(ids, dtype=object)


def catalog_rows(names: Iterable[str], item_ids: np.ndarray) -> np.ndarray:
    """Returns each name's row in the catalog, `[n]` int32, -1 for an unknown name; ids are compared as text."""
    row_of = {str(item_id): row for row, item_id in enumerate(item_ids.tolist())}
    return np.fromiter((row_of.get(name, -1) for name in names), np.int32)


def known_items(
    rows: np.ndarray,
    item_ids: np.ndarray,
    on_unknown: str,
    describe: Callable[[int], str],
    names: Names,
    option: str = "",
    remedy: str = "",
    things: str = "items are unknown",
) -> np.ndarray:
    """Returns a mask `[n]` bool of the items that are in the catalog; unknown items cause an error or a warning.

    Args:
      rows: `[n]` from `catalog_rows`.
      item_ids: `[N]` ids of the catalog.
      on_unknown: "error" rejects unknown items; "drop", or "skip", drops them and logs their number.
      describe: returns, for a position in `rows`, the file, the line or row, and the item's name.
      names: the items' names `[n]`, or a function from position to name.
      option: the option that drops unknown items, named in the error.
      remedy: see `likely_cause`.
      things: the words after the numbers in messages, with a verb.

    Raises:
      UserError: if `on_unknown` is invalid; if an item is unknown and `on_unknown` is "error"; or if all are unknown.
    """
    is_dropped = dropped(on_unknown)
    known = rows >= 0
    if known.all():
        return known
    strange = np.flatnonzero(~known)
    name = names if callable(names) else names.__getitem__
    unknown = list(dict.fromkeys(str(name(int(place))) for place in strange[:_MOST_COMPARED].tolist()))
    cause = likely_cause(unknown, rows[known], item_ids, remedy)
    counted = f"{len(strange):,} of {len(rows):,} {things}"
    if is_dropped and known.any():
        more = f"; {cause}" if cause else ""
        LOGGER.warning("%s is not in the catalog; %s and were dropped%s", describe(strange[0]), counted, more)
        return known
    # If no item is known, dropping would leave nothing.
    leaving = f"drop them{f' ({option})' if option else ''}, or add them to the catalog"
    leaving = leaving if known.any() else "give items of the catalog"
    raise UserError(
        f"{describe(int(strange[0]))} is not in the catalog, whose ids look like {str(item_ids[0])!r}; {counted}: "
        f"{cause or leaving}"
    )


def dropped(on_unknown: str) -> bool:
    """Returns whether unknown items are dropped rather than rejected; raises UserError for an invalid value."""
    if on_unknown not in ON_UNKNOWN:
        raise UserError(f"on_unknown is {on_unknown!r}; choose one of {', '.join(ON_UNKNOWN)}")
    return on_unknown != "error"


def some_unknown(ids: np.ndarray, known: np.ndarray) -> list[str]:
    """Returns the unknown ids as text, at most the first 10,000; `known` has the positions of the known ids."""
    return list(map(str, np.delete(ids, known)[:_MOST_COMPARED].tolist()))


def likely_cause(
    unknown: Sequence[str],
    found: np.ndarray,
    item_ids: np.ndarray,
    remedy: str = "",
) -> str:
    """Returns the likely reason why ids are not in a catalog, and a remedy; "" if no reason is found.

    A single unknown id counts as an id of another kind only if it is a number and the catalog's ids are text, the
    reverse, or if it contains spaces and the catalog's ids do not.

    Args:
      unknown: distinct ids that are not in the catalog, as text, at least one.
      found: `[n]` catalog rows of the ids that were found.
      item_ids: `[N]` ids of the catalog, int64 or object (str).
      remedy: the remedy for ids of another kind; by default, to set the column or the file of the catalog's ids.
    """
    ids = item_ids.tolist()
    if not ids:
        return "the catalog has no items"
    if base := _other_base(unknown, found, item_ids):
        return base
    for difference, plain in _SPELLINGS:
        own = {plain(str(item_id)): item_id for item_id in ids}
        twins = [(name, own[plain(name)]) for name in unknown if plain(name) in own]
        if 2 * len(twins) >= len(unknown):
            return f"{twins[0][0]!r} differs from {twins[0][1]!r} in {difference}: use one form in input and catalog"
    if len(found):
        return ""
    kinds = ["numbers" if all(map(_NUMBER.fullmatch, texts)) else "text" for texts in (unknown, map(str, ids))]
    differ = f" ({kinds[0]}; the catalog has {kinds[1]})" if kinds[0] != kinds[1] else ""
    if all(" " in name for name in unknown) and not any(" " in str(item_id) for item_id in ids):
        differ = " (they contain spaces, and those of the catalog do not; a list has one id per line)"
    if len(unknown) == 1 and not differ:
        return ""
    remedy = remedy or "set the column or the file that has the catalog's ids"
    return f"no id matches, so these seem to be ids of another kind{differ}: {remedy}"


def _other_base(unknown: Sequence[str], found: np.ndarray, item_ids: np.ndarray) -> str:
    """Returns an explanation if the input's ids and the catalog's ids seem to start at different numbers; else ""."""
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
                f"the input's ids seem to be numbered from {first}, but the catalog is numbered from {low}, so every "
                "id would name the wrong item: do not drop unknown items, but number the input and the catalog from "
                "the same start"
            )
    return ""


def check_unique(ids: np.ndarray, where: str) -> None:
    """Raises UserError, with the first duplicate id and its two rows, if the ids `[N]` are not distinct."""
    if ids.dtype.kind in "iu" and np.all(ids[1:] > ids[:-1]):
        return  # Strictly ascending ids, such as row numbers, are distinct. No hash table is needed.
    if pc.count_distinct(pa.array(ids)).as_py() == len(ids):
        return
    first_row: dict[object, int] = {}
    for row, item_id in enumerate(ids.tolist()):
        if item_id in first_row:
            raise UserError(
                f"{where}: id {shown(item_id)} is in row {first_row[item_id]} and again in row {row} (counted from "
                "0); give one row per item"
            )
        first_row[item_id] = row
