"""Writes the files of a RecBole data set named D: `D.inter`, with one row per interaction, and `D.item`.

The files are tab-separated, with the types of the columns in the header.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sid_jax.data.tables import python_values
from sid_jax.data.text.template import value_text
from sid_jax.errors import UserError, shown
from sid_jax.formats.content import Content, one_line
from sid_jax.tokens.vocabulary import DEFAULT_PATTERN


def write_recbole(folder: Path, content: Content) -> None:
    """Writes items and interactions; the column `sid:token_seq` has the tokens of each item's ID.

    The timestamp of an interaction is its position in the history. A numeric column of the table gets the type `float`,
    a column with texts of several words gets `token_seq`, and any other column gets `token`. RecBole itself splits the
    interactions (`eval_args: {split: {LS: valid_and_test}, order: TO}`).
    """
    columns: dict[str, Sequence[Any]] = {
        "item_id:token": _ids(content.table.item_ids.tolist(), "item"),
        "sid:token_seq": [" ".join(tokens) for tokens in content.tokens(DEFAULT_PATTERN)],
    }
    for name in content.table.columns.column_names:
        # RecBole splits the header at tabs and colons itself, and does not remove quotes.
        title = one_line(name).replace(":", "_").replace('"', "'")
        if title in ("item_id", "sid") or any(each.rpartition(":")[0] == title for each in columns):
            raise UserError(f"RecBole's item file would have two columns {title!r}; rename the column in your data")
        kind, values = _column(content.table.columns[name])
        columns[f"{title}:{kind}"] = values
    _write(folder / f"{content.name}.item", columns, zip(*columns.values(), strict=True))
    if content.histories is not None:
        items = columns["item_id:token"]
        rows = (
            (user, items[item], place)
            for user, taken in zip(_ids(content.histories.user_ids.tolist(), "user"), content.sequences, strict=True)
            for place, item in enumerate(taken)
        )
        _write(folder / f"{content.name}.inter", ("user_id:token", "item_id:token", "timestamp:float"), rows)


def _write(path: Path, header: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        # Fields are quoted if necessary. RecBole reads with pandas, which removes the quotes.
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _ids(ids: list[int | str], what: str) -> list[str]:
    texts = list(map(str, ids))
    wrong = [text for text in texts if not text or one_line(text) != text]
    if wrong:
        raise UserError(
            f"{what} {shown(wrong[0])} cannot be a token of RecBole; give ids that are not empty and have no tabs, "
            "line breaks, or leading, trailing or double spaces"
        )
    return texts


def _column(column: pa.ChunkedArray) -> tuple[str, list[Any]]:
    values = python_values(column)
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return "float", ["" if value is None else value for value in values]
    texts = ["" if value is None else one_line(value_text(value)) for value in values]
    return "token_seq" if any(" " in text for text in texts) else "token", texts
