"""Reads the ID table of an export: items and their Semantic IDs."""

from __future__ import annotations

import csv
import functools
import json
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

MANIFEST = "manifest.json"
# Tables of the Semantic IDs of removed items, and of the former IDs of moved items.
KEPT = ("retired.parquet", "former.parquet")


class Table:
    """N items and their Semantic IDs.

    Semantic IDs and prefixes are given as numbers, `(12, 4, 91)`, or as text, "12-4-91".

    Args:
      item_ids: N distinct int or str.
      semantic_ids: `[N, L]` int32.

    Attributes:
      item_ids, semantic_ids: as given.
    """

    def __init__(self, item_ids: Sequence[int | str], semantic_ids: np.ndarray):
        self.item_ids, self.semantic_ids = item_ids, semantic_ids

    @classmethod
    def read(cls, folder: Path) -> Table:
        """Reads the ID table of an export's folder: `ids.csv`, or Parquet files, which need pyarrow.

        Raises:
          ValueError: if the table is damaged, or is in Parquet files and pyarrow is not installed.
          OSError: if a file cannot be read.
        """
        if (folder / "ids.csv").exists():
            return cls(*_read_csv(folder / "ids.csv"))
        manifest = read_manifest(folder)
        names = [name for name in manifest["files"] if name.endswith(".parquet") and name not in KEPT]
        return cls(*read_parquet([folder / name for name in sorted(names)], manifest["schema"]["id_column"]))

    def __repr__(self) -> str:
        """Returns the number of items and the length of their Semantic IDs."""
        return f"Table({len(self):,} items, Semantic IDs of {self.semantic_ids.shape[1]} codes)"

    def __len__(self) -> int:
        """Returns N."""
        return len(self.item_ids)

    def __contains__(self, item: object) -> bool:
        """Returns whether an item is in the table."""
        return isinstance(item, (int, str, np.integer)) and item in self._rows

    @overload
    def semantic_id(self, item: int | str) -> tuple[int, ...]: ...
    @overload
    def semantic_id(self, item: list[Any] | tuple[Any, ...] | np.ndarray) -> np.ndarray: ...
    def semantic_id(self, item: Any) -> tuple[int, ...] | np.ndarray:
        """Returns the Semantic ID of one item as a tuple of L numbers, or the IDs of n items as `[n, L]` int32.

        Raises:
          KeyError: if an item is not in the table.
        """
        if not isinstance(item, (list, tuple, np.ndarray)):
            return tuple(self.semantic_ids[self._row(item)].tolist())
        return self.semantic_ids[[self._row(each) for each in item]]

    def _row(self, item: Any) -> int:
        if item not in self._rows:
            like = f"; ids of this table look like {self.item_ids[0]!r}" if len(self) else ""
            raise KeyError(f"no item has the id {item!r}{like}")
        return self._rows[item]

    @overload
    def item(self, semantic_id: Sequence[int] | str) -> int | str: ...
    @overload
    def item(self, semantic_id: list[tuple[int, ...]] | list[str]) -> list[int | str]: ...
    def item(self, semantic_id: Any) -> int | str | list[int | str]:
        """Returns the id of the item with a Semantic ID, or a list of the ids for several Semantic IDs.

        Raises:
          KeyError: if no item has the Semantic ID.
          ValueError: if the Semantic ID does not have L codes, or several items share it (`items` returns all of them).
        """
        if _are_several(semantic_id):
            return [self.item(each) for each in semantic_id]
        codes, levels = self._codes(semantic_id), self.semantic_ids.shape[1]
        if len(codes) != levels:
            raise ValueError(f"{codes} has {len(codes)} codes, but a Semantic ID of this table has {levels}")
        found = self.items(codes)
        if not found:
            raise KeyError(f"no item has the Semantic ID {codes}")
        if len(found) > 1:
            raise ValueError(f"{len(found)} items share the Semantic ID {codes}; `items` returns all of them")
        return found[0]

    def items(self, prefix: Sequence[int] | str) -> list[int | str]:
        """Returns the items whose Semantic IDs begin with these codes, in the order of their Semantic IDs.

        Raises:
          ValueError: if the prefix is not whole numbers, or longer than L.
        """
        first, end = 0, len(self)
        for level, code in enumerate(self._codes(prefix)):
            column = self._sorted[first:end, level]
            first, end = (first + int(np.searchsorted(column, code, side)) for side in ("left", "right"))
        return [self.item_ids[row] for row in self._order[first:end].tolist()]

    def _codes(self, prefix: Sequence[int] | str) -> tuple[int, ...]:
        """Returns the codes of a prefix of at most L codes.

        Raises:
          ValueError: if the prefix is not whole numbers, or longer than L.
        """
        try:
            if isinstance(prefix, str):
                codes = tuple(map(int, prefix.split("-"))) if prefix else ()
            else:
                codes = tuple(map(operator.index, prefix))
        except (TypeError, ValueError) as error:
            shown = repr(prefix)
            shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
            raise ValueError(
                f'{shown} is not a Semantic ID or a prefix of one; give whole numbers, as in (12, 4) or "12-4"'
            ) from error
        if len(codes) > self.semantic_ids.shape[1]:
            raise ValueError(
                f"{codes} has {len(codes)} codes, but a Semantic ID of this table has {self.semantic_ids.shape[1]}"
            )
        return codes

    @functools.cached_property
    def _rows(self) -> dict[int | str, int]:
        return {item: row for row, item in enumerate(self.item_ids)}

    @functools.cached_property
    def _order(self) -> np.ndarray:
        return np.lexsort(self.semantic_ids.T[::-1])

    @functools.cached_property
    def _sorted(self) -> np.ndarray:
        return self.semantic_ids[self._order]


def _are_several(semantic_ids: Any) -> bool:
    """Returns whether the argument is a list of Semantic IDs, or an array `[n, L]`, and not a single ID."""
    if isinstance(semantic_ids, str) or not hasattr(semantic_ids, "__len__") or not len(semantic_ids):
        return False
    return isinstance(semantic_ids[0], str) or hasattr(semantic_ids[0], "__len__")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the manifest of an export's folder.

    Raises:
      ValueError: if the manifest is damaged.
      OSError: if it cannot be read.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        _ = manifest["files"].keys(), manifest["schema"]["id_column"], manifest["semantic_ids"]["scheme"]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{folder / MANIFEST} has a missing or invalid entry ({error}); export again") from error
    return manifest


def read_parquet(files: Sequence[Path], id_column: str) -> tuple[list[int | str], np.ndarray]:
    """Returns the item ids and Semantic IDs `[N, L]` int32 of Parquet files.

    Raises:
      ValueError: if pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        names = ", ".join(sorted({file.name if file.name in KEPT else "the ID table" for file in files}))
        raise ValueError(
            f"{files[0].parent}: reading {names} needs pyarrow, since these are Parquet files; run pip install pyarrow"
        ) from error
    table = pa.concat_tables(pq.ParquetFile(file).read([id_column, "semantic_id"]) for file in files)
    codes = table["semantic_id"].combine_chunks().flatten()
    # `read_table` and `to_numpy` are not used, since they import pandas if it is installed.
    numbers = np.from_dlpack(codes).astype(np.int32)
    # The table of removed items has no rows if no item was removed. `reshape` cannot infer the number of codes from an
    # empty array.
    return table[id_column].to_pylist(), numbers.reshape(len(table), -1) if len(table) else numbers.reshape(0, 0)


def _read_csv(path: Path) -> tuple[list[int | str], np.ndarray]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        try:
            column = next(rows).index("sid")
            pairs = [(row[0], row[column].split("-")) for row in rows]
            codes = np.array([code for _, code in pairs], np.int32).reshape(len(pairs), -1)
        except (ValueError, IndexError, StopIteration, csv.Error) as error:
            raise ValueError(f"{path} is not an ID table of an export ({error}); export again") from error
    # In this file, text ids are in double quotes, and integers are not.
    with path.open("rb") as file:
        file.readline()
        is_text = file.read(1) == b'"'
    return [item if is_text else int(item) for item, _ in pairs], codes
