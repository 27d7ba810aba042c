"""A part of a file of vectors, and what a kind of file must be able to do."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from sid_jax.errors import UserError, listed, reason

_SECOND_FORMS = {"item_id": "ids", "vector": "vectors"}


@dataclasses.dataclass(frozen=True)
class Part:
    """Some rows of a file, one after another.

    Attributes:
      path: the file.
      first_row: in the file.
      num_rows: how many.
      first_item: how many rows come before it in all files.
      row_groups: of a parquet file, from and to (not included).
      ids_path: the file with its ids, if they are not in the file itself; empty if ids are row numbers.
      ids_offset: where the first one begins: in bytes, or in a .npy file in rows.
      left_out: rows that are passed over, counted from `first_row`, in rising order.
      num_features: D of the file, where its rows need not have as many.
    """

    path: str
    first_row: int
    num_rows: int
    first_item: int = 0
    row_groups: tuple[int, int] = (0, 0)
    ids_path: str = ""
    ids_offset: int = 0
    left_out: tuple[int, ...] = ()
    num_features: int | None = None


@dataclasses.dataclass(frozen=True)
class Columns:
    """What the columns (or arrays, or tensors) of a file that has some are called.

    Attributes:
      id_column, vector_column: the names.
      ids_elsewhere: whether ids come from files of their own, so that a table need not have them.
    """

    id_column: str
    vector_column: str
    ids_elsewhere: bool = False

    def find(self, setting: str, names: Sequence[str], path: Path) -> str:
        """Returns which of a file's names a setting, "id_column" or "vector_column", means.

        A default one also has a second form, as plurals are common. Raises UserError if there is none, or two.
        """
        found = self.find_if_any(setting, names, path)
        if found is None:
            raise UserError(
                f"{path}: has no {getattr(self, setting)!r}; set --config.data.{setting} to one of "
                f"{listed(names) or 'its names, which it lacks'}"
            )
        return found

    def find_ids(self, names: Sequence[str], path: Path) -> str | None:
        """Returns the name of a table's ids, None if they are elsewhere or it has its vectors alone."""
        others = set(names) - {self.find("vector_column", names, path)}
        return (self.find_if_any if self.ids_elsewhere or not others else self.find)("id_column", names, path)

    def find_if_any(self, setting: str, names: Sequence[str], path: Path) -> str | None:
        """Returns what `find` does, but None if there is none."""
        wanted = getattr(self, setting)
        found = next((name for name in (wanted, _SECOND_FORMS.get(wanted, wanted)) if name in names), None)
        if found is not None and names.count(found) > 1:
            raise UserError(f"{path}: has {names.count(found)} columns {found!r}; give each a name of its own")
        return found


@dataclasses.dataclass(frozen=True)
class Look:
    """What a look at a file says, without reading it.

    Attributes:
      num_features: D.
      parts: none if it holds no rows.
      has_ids: whether it has ids of its own.
    """

    num_features: int
    parts: list[Part]
    has_ids: bool


class Kind(abc.ABC):
    """A kind of file. What is damaged, or holds something else, is a UserError that names the file."""

    @abc.abstractmethod
    def look(self, path: Path, columns: Columns, rows: int) -> Look:
        """Returns what there is to know before reading; the parts are of about so many rows."""

    @abc.abstractmethod
    def blocks(self, part: Part, columns: Columns, rows: int) -> Iterator[tuple[pa.Array | None, np.ndarray]]:
        """Yields ids `[n]`, int64 or string (None without any), and vectors `[n, D]` float32, so many at a time."""

    def rows(self, part: Part, columns: Columns, wanted: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yields the vectors of rows that are counted from the part's first and sorted, so many at a time.

        All are read, unless a kind knows better.
        """
        start = 0
        for _, vectors in self.blocks(part, columns, rows):
            first, end = np.searchsorted(wanted, [start, start + len(vectors)])
            if end > first:
                yield vectors[wanted[first:end] - start]
            start += len(vectors)

    def mapped(self, path: Path) -> np.ndarray | None:
        """Returns all vectors, memory-mapped, if they lie in the file as they are used; else None."""
        return None


def even_parts(path: Path, num_rows: int, rows: int, num_features: int | None = None) -> list[Part]:
    """Cuts a file into parts of so many rows."""
    return [
        Part(str(path), start, min(rows, num_rows - start), num_features=num_features)
        for start in range(0, num_rows, rows)
    ]


@contextlib.contextmanager
def reading(path: Path, ending: str, *also: type[Exception]) -> Iterator[None]:
    """Turns what a library says of a damaged file, also by exceptions of its own, into one line."""
    damage = (OSError, ValueError, LookupError, TypeError, MemoryError, OverflowError, RuntimeError, pa.ArrowException)
    try:
        yield
    except (*damage, *also) as error:
        raise UserError(f"{path}: not a readable {ending} file ({reason(error)}); write it anew") from error
