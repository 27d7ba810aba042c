"""Opens .csv files for Arrow's reader, and determines their separator, compression and column types."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from sid_jax.data.file_content import is_gzipped

# Maximum length in bytes of the first line of a .csv file, from which the separator is determined.
_LONGEST_HEADER = 2**16


def csv_names(path: Path, parse_options: pa_csv.ParseOptions) -> list[str]:
    """Returns the names of a .csv file's columns, from its first line."""
    with csv_source(path) as source, pa_csv.open_csv(source, parse_options=parse_options) as reader:
        return reader.schema.names


def csv_source(path: Path) -> pa.NativeFile:
    """Opens a .csv file, gzipped or not, for Arrow's reader; its first bytes show whether it is gzipped."""
    return pa.input_stream(str(path), compression="gzip" if is_gzipped(path) else None)


def csv_format(path: Path, *, newlines: bool = False) -> pa_csv.ParseOptions:
    """Returns Arrow's options for the separator of a .csv file: a comma, a semicolon or a tab.

    The separator is the first of these three that the file's first line contains, and a comma if it contains none of
    them. Spreadsheet programs write semicolons in locales whose decimal separator is the comma.

    Args:
      path: the file.
      newlines: whether values may contain line breaks, which makes reading slower.
    """
    with csv_source(path) as source:
        header = source.read(_LONGEST_HEADER).splitlines()[:1]
    found = (each for each in (",", ";", "\t") if header and each.encode() in header[0])
    return pa_csv.ParseOptions(delimiter=next(found, ","), newlines_in_values=newlines)


def as_text(names: Sequence[str], *, guessed: Sequence[str] = ()) -> pa_csv.ConvertOptions:
    """Returns Arrow's options for reading a .csv file's columns `names` and `guessed`; only empty fields become null.

    Args:
      names: columns that are read as text, since an id such as "007" would become 7 as a number.
      guessed: columns whose type Arrow infers, such as numbers and times.
    """
    return pa_csv.ConvertOptions(
        include_columns=list(dict.fromkeys([*names, *guessed])),
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
    )
