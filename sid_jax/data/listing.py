"""Finds the files that an input text names by paths, folders and patterns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from sid_jax.buckets.fetch import streamed
from sid_jax.buckets.place import File
from sid_jax.data.file_content import check_content
from sid_jax.data.parts.part import reading
from sid_jax.errors import UserError, listed
from sid_jax.paths import as_path, bucket_address

# Files that Hugging Face's `datasets` writes: `_DATASET` into the folder of each data set, and `_SPLITS` into a folder
# whose subfolders are the splits of a data set.
_DATASET, _SPLITS = "state.json", "dataset_dict.json"
# Spark writes this file into a folder after all other files, even if the table has no rows.
_SUCCESS = "_SUCCESS"


def find_files(text: str, endings: Sequence[str], *, allow_empty: bool = False) -> list[Path]:
    """Returns the files of an input text: paths, folders or patterns, separated by commas.

    A path that exists is not split at commas, and not expanded as a pattern. The files of a folder or pattern are
    sorted by name. In a folder, hidden files, files whose names begin with "_" (as Spark writes them) and files with
    other endings are ignored; subfolders named like date=2026-01-31 are searched too.

    Raises:
      UserError: if there are no files, if a file that is given by a path or a pattern has none of the endings, or if
        the content of a file does not match its ending. With `allow_empty`, a folder that Spark has finished may have
        no files.
    """
    return [path for name in _names(text) for path in _find(name, endings, allow_empty)]


def find_remote_files(text: str, kind: str, endings: Sequence[str], allow_empty: bool = False) -> list[File]:
    """Finds files as `find_files` does. Files in a bucket are not downloaded if all of them have the ending `kind`."""
    found: list[File] = []
    for name in _names(text):
        address = bucket_address(name)
        remote = None if address is None else streamed(address, kind, endings)
        found += _find(name, endings, allow_empty) if remote is None else remote
    return found


def find_ids_files(text: str) -> list[str]:
    """Returns the files of ids that an input text names, [] for an empty text.

    If there is no file at a path, the path itself is returned, so that reading it raises an error.
    """
    found = []
    for name in _names(text) if text else []:
        path = as_path(name)
        if bucket_address(name) is not None:
            found += [str(each) for each in _fetched(path)]
            continue
        found += [str(path)] if path.exists() else [str(each) for each in _matching(path)] or [str(path)]
    return found


def whole_names(text: str) -> str:
    """Returns an input text with its paths and patterns made absolute, so that it is valid in any working directory."""
    return ",".join(bucket_address(name) or str(as_path(name)) for name in _names(text)) if text else ""


def ending(path: File, endings: Iterable[str] = ()) -> str:
    """Returns the element of `endings` with which a file's name ends, or else the file's suffix ("" if it has none).

    Upper and lower case are not distinguished.
    """
    name = path.name.lower()
    # Shards may be called items.array_record-00003-of-00010.
    if ".array_record" in name:
        return ".array_record"
    return next((each for each in endings if name.endswith(each)), path.suffix.lower())


def _names(text: str) -> list[str]:
    several = [name.strip() for name in text.split(",") if name.strip()] or [text]
    return several if any(map(bucket_address, several)) or not as_path(text).exists() else [text]


def _find(name: str, endings: Sequence[str], allow_empty: bool) -> list[Path]:
    path = as_path(name)
    if bucket_address(name) is not None and set("*?[") & set(name):
        found = _fetched(path)
    else:
        found = _of_folder(path, endings) if path.is_dir() else [path] if path.exists() else _matching(path)
    if not found and not (allow_empty and (path / _SUCCESS).exists()):
        what = "the folder has no file of an accepted kind" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {what}; give {', '.join(endings)} files, or a folder of them")
    for each in found:
        if ending(each, endings) not in endings:
            raise UserError(f"{each}: unknown kind of file {each.suffix!r}; give one of {', '.join(endings)}")
        check_content(each)
    return found


def _of_folder(folder: Path, endings: Sequence[str]) -> list[Path]:
    if (folder / _SPLITS).is_file():
        splits = sorted(each.name for each in folder.iterdir() if (each / _DATASET).is_file())
        raise UserError(
            f"{folder}: contains several splits; give the folder of one split, {folder}/SPLIT; the splits are: "
            f"{listed(splits) or 'none found'}"
        )
    if (folder / _DATASET).is_file():
        return _of_dataset(folder / _DATASET)
    found: list[Path] = []
    for each in sorted(folder.iterdir()):
        if each.name.startswith((".", "_")):
            continue
        if each.is_dir() and "=" in each.name:
            found += _of_folder(each, endings)
        elif ending(each, endings) in endings:
            found.append(each)
    return found


def _of_dataset(state: Path) -> list[Path]:
    """Returns the files of a data set that Hugging Face's `datasets` saved to a folder, in the order of its rows."""
    with reading(state, "JSON"):
        content = json.loads(state.read_text(encoding="utf-8"))
        names = [each["filename"] for each in content["_data_files"]]
        # Separate index files, which older versions of `datasets` write, and files outside the folder are not
        # supported.
        if content.get("_indices_data_files") or any(Path(name).name != name for name in names):
            raise ValueError(
                "it refers to files outside its folder or to index files; load the data set, call flatten_indices(), "
                "then save_to_disk()"
            )
    return [state.with_name(name) for name in names]


def _fetched(path: Path) -> list[Path]:
    """Returns the files in a local copy of a bucket's content; the copy is a folder or one file."""
    return sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]


def _matching(path: Path) -> list[Path]:
    return sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
