"""Columns of a .csv file as text: "007" may be somebody's id, and is another one than 7."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv


def csv_names(path: Path, parse_options: pa_csv.ParseOptions | None = None) -> list[str]:
    """Returns the names of a file's columns, from its first line."""
    with pa_csv.open_csv(path, parse_options=parse_options) as reader:
        return reader.schema.names


def as_text(names: Sequence[str], *, guessed: Sequence[str] = ()) -> pa_csv.ConvertOptions:
    """Returns how Arrow is to read these columns and no others: as they stand, and null only where they are empty.

    Args:
      names: of columns of text.
      guessed: of columns whose type Arrow is to find out, such as numbers and times.
    """
    return pa_csv.ConvertOptions(
        include_columns=list(dict.fromkeys([*names, *guessed])),
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
    )
