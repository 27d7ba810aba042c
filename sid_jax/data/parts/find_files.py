"""Which files of vectors, and of their ids, a user's text names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sid_jax.data.parts.part import reading
from sid_jax.data.reason import listed
from sid_jax.errors import UserError

# What Hugging Face's `datasets` write beside their files: of a data set, and of one with several splits.
_DATASET, _SPLITS = "state.json", "dataset_dict.json"


def find_files(text: str, endings: Sequence[str]) -> list[Path]:
    """Returns the files that a text names: paths, folders or patterns, with commas between them.

    Args:
      text: what a user typed; a path that exists as it stands is taken as it stands.
      endings: of the files' names.

    Returns:
      The files, those of a folder or pattern in the order of their names.

    Raises:
      UserError: if there are none, or one is of an unknown kind.
    """
    return [path for name in _names(text) for path in _find(name, endings)]


def find_ids_files(text: str) -> list[str]:
    """Returns the files of ids that a text names; none for no text, a path itself if none is there."""
    found = []
    for name in _names(text) if text else []:
        path = Path(name).expanduser()
        found += [str(path)] if path.exists() else [str(each) for each in _matching(path)] or [str(path)]
    return found


def is_pattern(path: Path) -> bool:
    """Returns whether a path is a pattern, and no file's own name."""
    return not path.exists() and any(sign in str(path) for sign in "*?[")


def ending(path: Path) -> str:
    """Returns what tells a file's kind, "" if it is none."""
    # Shards may be called items.array_record-00003-of-00010.
    return ".array_record" if ".array_record" in path.name else path.suffix


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
        if ending(each) not in endings:
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
    return sorted(each for each in folder.iterdir() if ending(each) in endings)


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
