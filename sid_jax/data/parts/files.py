"""Which files of vectors, and of their ids, a user's text names; and ids in files of their own."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from sid_jax.data.arrow_columns import ids_as_array, ids_from_numpy
from sid_jax.data.parts.arrays import open_npy
from sid_jax.data.parts.part import reading
from sid_jax.errors import UserError, listed, reason

# What Hugging Face's `datasets` write beside their files: of a data set, and of one with several splits.
_DATASET, _SPLITS = "state.json", "dataset_dict.json"


def find_files(text: str, endings: Sequence[str]) -> list[Path]:
    """Returns the files that a text names: paths, folders or patterns, with commas between them.

    A path that exists as it stands is taken so. The files of a folder or pattern are in the order of their names.

    Raises:
      UserError: if there are none, or one has none of the endings.
    """
    return [path for name in _names(text) for path in _find(name, endings)]


def find_ids_files(text: str) -> list[str]:
    """Returns the files of ids that a text names; none for no text, a path itself if none is there."""
    found = []
    for name in _names(text) if text else []:
        path = Path(name).expanduser()
        found += [str(path)] if path.exists() else [str(each) for each in _matching(path)] or [str(path)]
    return found


def ending(path: Path, endings: Iterable[str] = ()) -> str:
    """Returns what tells a file's kind: one of the endings, or what its name ends with; "" if it is none."""
    # Shards may be called items.array_record-00003-of-00010.
    if ".array_record" in path.name:
        return ".array_record"
    return next((each for each in endings if path.name.endswith(each)), path.suffix)


def _names(text: str) -> list[str]:
    if Path(text).expanduser().exists():
        return [text]
    return [name.strip() for name in text.split(",") if name.strip()] or [text]


def _find(name: str, endings: Sequence[str]) -> list[Path]:
    path = Path(name).expanduser()
    found = _of_folder(path, endings) if path.is_dir() else [path] if path.exists() else _matching(path)
    if not found:
        raise UserError(f"{name}: no such file; give {', '.join(endings)} files, or a folder of them")
    for each in found:
        if ending(each, endings) not in endings:
            raise UserError(f"{each}: unknown kind of file {each.suffix!r}; give one of {', '.join(endings)}")
    return found


def _of_folder(folder: Path, endings: Sequence[str]) -> list[Path]:
    if (folder / _SPLITS).is_file():
        splits = sorted(each.name for each in folder.iterdir() if (each / _DATASET).is_file())
        raise UserError(
            f"{folder}: holds several splits; name one, as in {folder}/SPLIT: {listed(splits) or 'none found'}"
        )
    if (folder / _DATASET).is_file():
        return _of_dataset(folder / _DATASET)
    return sorted(each for each in folder.iterdir() if ending(each, endings) in endings)


def _of_dataset(state: Path) -> list[Path]:
    """Returns the files of a data set that was saved to a folder, in its order."""
    with reading(state, "JSON"):
        content = json.loads(state.read_text(encoding="utf-8"))
        names = [each["filename"] for each in content["_data_files"]]
        # None of an older version's row numbers in a further file, and nothing from outside the folder.
        if content.get("_indices_data_files") or any(Path(name).name != name for name in names):
            raise ValueError("it names more than the files of one folder: load it, flatten_indices(), save_to_disk()")
    return [state.with_name(name) for name in names]


def _matching(path: Path) -> list[Path]:
    return sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def id_offsets(ids_path: Path, starts: Sequence[int], num_rows: int, path: str) -> list[int]:
    """Returns where the ids of rows with these numbers begin: in bytes, or in a .npy file in rows.

    Args:
      ids_path: the file of ids.
      starts: numbers of rows, in rising order, counted from 0.
      num_rows: how many ids there must be.
      path: the file of vectors that the ids belong to.

    Raises:
      UserError: if it cannot be read, a line is empty, or there are more or fewer.
    """
    if ids_path.suffix == ".npy":
        array = open_npy(ids_path)
        if array.ndim != 1:
            raise UserError(f"{ids_path}: expected ids [N], found shape {list(array.shape)}")
        offsets, count = list(starts), len(array)
    else:
        offsets, count = _line_offsets(ids_path, starts)
    if count != num_rows:
        raise UserError(f"{ids_path}: holds {count} ids, but {path} holds {num_rows} vectors; give one id a row")
    return offsets


def read_ids(ids_path: Path, num_rows: int, path: str) -> np.ndarray:
    """Returns all ids of a file, `[n]` int64 or object (str); else as `id_offsets`."""
    offsets = id_offsets(ids_path, [0], num_rows, path)
    return ids_as_array(IdReader(str(ids_path), offsets[0], 0).read(num_rows))


def _line_offsets(ids_path: Path, starts: Sequence[int]) -> tuple[list[int], int]:
    """Returns where lines begin, in bytes, and how many there are in all."""
    offsets, wanted, count, position = [], iter([*starts, -1]), 0, 0
    following = next(wanted)
    try:
        with ids_path.open("rb") as file:
            for line in file:
                if count == following:
                    offsets.append(position)
                    following = next(wanted)
                if not line.strip(b"\r\n"):
                    raise UserError(f"{ids_path}: line {count + 1} is empty; give one id a line")
                position, count = position + len(line), count + 1
    except OSError as error:
        raise UserError(f"{ids_path}: {os.strerror(error.errno or 0)}; give a file with one id a line") from error
    return offsets, count


class IdReader:
    """Reads ids in their order.

    Args:
      ids_path: the file.
      offset: where the first one begins, as of `id_offsets`.
      row: its number, from which an error counts.
    """

    def __init__(self, ids_path: str, offset: int, row: int):
        self._path, self._row = Path(ids_path), row
        self._array = open_npy(self._path)[offset:] if self._path.suffix == ".npy" else None
        self._lines = _lines(self._path, offset, row)
        self._taken = 0

    def read(self, count: int) -> pa.Array:
        """Returns the next ids, int64 or string.

        Raises:
          UserError: if they are not UTF-8, or neither integers nor strings.
        """
        start, self._taken = self._taken, self._taken + count
        if self._array is None:
            return pa.array(list(itertools.islice(self._lines, count)), pa.string())
        return ids_from_numpy(self._array[start : self._taken], str(self._path), first_row=self._row + start)


def _lines(path: Path, offset: int, row: int) -> Iterator[str]:
    with path.open("rb") as file:
        file.seek(offset)
        for number, line in enumerate(file, start=row + 1):
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            try:
                yield text.decode("utf-8" if offset else "utf-8-sig")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path}: line {number} is not UTF-8 text ({reason(error)}); save it as UTF-8"
                ) from error
