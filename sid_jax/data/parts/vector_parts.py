"""Files of vectors of any length, as parts that are read one block after another: memory does not grow with N."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from sid_jax.data.parts.array_records import ArrayRecords
from sid_jax.data.parts.id_lines import line_offsets, read_lines
from sid_jax.data.parts.npy import Npy
from sid_jax.data.parts.parquet import Parquet
from sid_jax.data.parts.part import Columns, Kind, Part
from sid_jax.errors import UserError

# Rows of a part, but that a row group of a parquet file is not divided.
_ROWS_A_PART = 2**18
_KINDS: dict[str, Kind] = {".npy": Npy(), ".parquet": Parquet(), ".array_record": ArrayRecords()}


@dataclasses.dataclass(frozen=True)
class VectorParts:
    """All parts, and how they are read.

    Attributes:
      parts: in the order of the rows.
      num_features: D.
      columns: of parquet files.
    """

    parts: tuple[Part, ...]
    num_features: int
    columns: Columns

    @property
    def num_items(self) -> int:
        """N."""
        return sum(part.num_rows for part in self.parts)

    @property
    def ids_are_row_numbers(self) -> bool:
        """Whether ids are the numbers of the rows, counted over all files."""
        return not any(part.ids_path or _kind(Path(part.path)).has_ids for part in self.parts)

    def blocks(self, number: int, rows: int) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Yields ids `[n]`, int64 or string, and vectors `[n, D]` float32 of a part, so many rows at a time.

        Raises:
          UserError: if the file cannot be read, or an id or a vector is null.
        """
        part = self.parts[number]
        lines = read_lines(part.ids_path, part.ids_offset, part.num_rows) if part.ids_path else None
        item = part.first_item
        for ids, vectors in _kind(Path(part.path)).blocks(part, self.columns, rows):
            if lines is not None:
                ids = pa.array(list(itertools.islice(lines, len(vectors))), pa.string())
            elif ids is None:
                ids = pa.array(np.arange(item, item + len(vectors)))
            yield ids, vectors
            item += len(vectors)

    def rows(self, number: int, wanted: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yields the vectors `[n, D]` float32 of some rows of a part, which are counted from its first and sorted.

        At most `rows` come at a time.
        """
        part = self.parts[number]
        return _kind(Path(part.path)).rows(part, self.columns, wanted, rows)


def list_parts(
    inputs: Sequence[str],
    *,
    id_column: str = "item_id",
    vector_column: str = "vector",
    ids_paths: Sequence[str] = (),
    rows: int = _ROWS_A_PART,
) -> VectorParts:
    """Looks at the files, without reading them, and cuts them into parts.

    Args:
      inputs: .npy, .parquet and .array_record files, folders of them, or patterns such as "items/*.parquet"; the files
        of each folder and pattern in the order of their names.
      id_column, vector_column: of parquet files.
      ids_paths: for each other file a text file with one id a line; none if ids are row numbers.
      rows: of a part, but that no row group of a parquet file is divided.

    Raises:
      UserError: if there is no such file, or one is not of vectors as long as those of the first one.
    """
    files = [path for each in inputs for path in find_files(each)]
    without_ids = [path for path in files if not _kind(path).has_ids]
    if ids_paths and len(ids_paths) != len(without_ids):
        raise UserError(
            f"there are {len(ids_paths)} files of ids for {len(without_ids)} files without ids of their own"
        )
    ids_of = dict(zip(without_ids, ids_paths, strict=False))
    found = VectorParts((), 0, Columns(id_column, vector_column))
    for path in files:
        size, parts = _kind(path).look(path, found.columns, rows)
        if not parts:
            continue
        if found.parts and size != found.num_features:
            raise UserError(
                f"{path}: vectors have {size} features, but those of {found.parts[0].path} have {found.num_features}"
            )
        parts = _with_ids(parts, ids_of.get(path, ""), found.num_items)
        found = dataclasses.replace(found, parts=(*found.parts, *parts), num_features=size)
    if not found.parts:
        raise UserError(f"{inputs[0]}: holds no rows")
    return found


def find_files(text: str) -> list[Path]:
    """Returns the files that a path, a folder or a pattern names, in the order of their names.

    Raises:
      UserError: if there are none, or one is of an unknown kind.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if _ending(each) in _KINDS)
    else:
        found = [path] if path.exists() else _matching(path)
    if not found:
        raise UserError(f"{text}: no such file; give {', '.join(_KINDS)} files, or a folder of them")
    for each in found:
        if _ending(each) not in _KINDS:
            raise UserError(f"{each}: unknown kind of file {each.suffix!r}; give one of {', '.join(_KINDS)}")
    return found


def find_ids_files(text: str) -> list[str]:
    """Returns the files of ids that a path or a pattern names; none for no text, the path itself if none is there."""
    path = Path(text).expanduser()
    if not text:
        return []
    return [str(path)] if path.exists() else [str(each) for each in _matching(path)] or [str(path)]


def is_pattern(path: Path) -> bool:
    """Returns whether a path is a pattern, and no file's own name."""
    return not path.exists() and any(sign in str(path) for sign in "*?[")


def _matching(path: Path) -> list[Path]:
    return sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def _with_ids(parts: list[Part], ids_path: str, first_item: int) -> list[Part]:
    starts, total = [part.first_row for part in parts], sum(part.num_rows for part in parts)
    offsets = line_offsets(Path(ids_path).expanduser(), starts, total, parts[0].path) if ids_path else [0] * len(parts)
    return [
        dataclasses.replace(part, first_item=first_item + part.first_row, ids_path=ids_path, ids_offset=offset)
        for part, offset in zip(parts, offsets, strict=True)
    ]


def _kind(path: Path) -> Kind:
    return _KINDS[_ending(path)]


def _ending(path: Path) -> str:
    # Shards may be called items.array_record-00003-of-00010.
    return ".array_record" if ".array_record" in path.name else path.suffix
