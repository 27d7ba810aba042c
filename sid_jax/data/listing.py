"""Which files a user's text names: paths, folders, patterns, and several of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from sid_jax.data.parts.part import reading
from sid_jax.errors import UserError, listed
from sid_jax.paths import as_path

# What Hugging Face's `datasets` write beside their files: of a data set, and of one with several splits.
_DATASET, _SPLITS = "state.json", "dataset_dict.json"
# What Spark writes into a folder that it has finished, of a table without rows too.
_SUCCESS = "_SUCCESS"


def find_files(text: str, endings: Sequence[str], *, allow_empty: bool = False) -> list[Path]:
    """Returns the files that a text names: paths, folders or patterns, with commas between them.

    A path that exists as it stands is taken so. The files of a folder or pattern are in the order of their names. Of a
    folder, hidden files and those that begin with "_", as Spark writes them, are left out; folders in it that are named
    as in date=2026-01-31 are looked into.

    Raises:
      UserError: if there are none (with `allow_empty`, a folder that Spark has finished may have none), or one has none
        of the endings.
    """
    return [path for name in _names(text) for path in _find(name, endings, allow_empty)]


def find_ids_files(text: str) -> list[str]:
    """Returns the files of ids that a text names; none for no text, a path itself if none is there."""
    found = []
    for name in _names(text) if text else []:
        path = as_path(name)
        found += [str(path)] if path.exists() else [str(each) for each in _matching(path)] or [str(path)]
    return found


def whole_names(text: str) -> str:
    """Returns the paths and patterns that a text names so that they mean the same from another working directory."""
    return ",".join(str(as_path(name)) for name in _names(text)) if text else ""


def ending(path: Path, endings: Iterable[str] = ()) -> str:
    """Returns what tells a file's kind: one of the endings, or what its name ends with; "" if it is none."""
    # Shards may be called items.array_record-00003-of-00010.
    if ".array_record" in path.name:
        return ".array_record"
    return next((each for each in endings if path.name.endswith(each)), path.suffix)


def _names(text: str) -> list[str]:
    if as_path(text).exists():
        return [text]
    return [name.strip() for name in text.split(",") if name.strip()] or [text]


def _find(name: str, endings: Sequence[str], allow_empty: bool) -> list[Path]:
    path = as_path(name)
    found = _of_folder(path, endings) if path.is_dir() else [path] if path.exists() else _matching(path)
    if not found and not (allow_empty and (path / _SUCCESS).exists()):
        raise UserError(f"{path}: no such file; give {', '.join(endings)} files, or a folder of them")
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
