"""Copies the files at an address into the cache folder, once per version of their content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
import time
import uuid
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from sid_jax.buckets.names import copy_of
from sid_jax.buckets.place import Entry, Place, RemoteFile, digest_of
from sid_jax.errors import UserError

_LOGGER = logging.getLogger("sid_jax")
# The file that lists the other files of a folder and is written last: MANIFEST in an export or a recommender,
# RUN_MANIFEST in a run.
MANIFEST, RUN_MANIFEST = "manifest.json", "workdir.json"
# The file that marks a folder during its upload.
UPLOADING = ".uploading"
# Lists of item ids in a folder whose other files refer to items by number; see `sid_jax.data.numbered`.
_BESIDE = ("item_ids.parquet", "item_ids.txt")
# Copies of more than this number of bytes are announced, since they take a while.
_ANNOUNCED_BYTES = 10**8
_SECONDS_A_DAY = 86_400


@dataclasses.dataclass(frozen=True)
class Found:
    """The files at an address.

    Attributes:
      files: the files, by their names in the local copy.
      version: a digest that changes with the content.
      content: maps the manifest's file name to the manifest's content; empty without a manifest.
      is_folder: whether the address is a prefix or a pattern, not a single file.
      lengths: for a run, the length of each file in bytes in this version. A later version may have appended to a
        file, so `download` truncates the copy to this length. JSON files are not truncated.
    """

    files: dict[str, Entry]
    version: str
    content: dict[str, bytes] = dataclasses.field(default_factory=dict)
    is_folder: bool = True
    lengths: dict[str, int] = dataclasses.field(default_factory=dict)


def fetched(address: str) -> Path:
    """Returns the local copy of a file, of the files that match a pattern, or of a folder.

    For an export, a recommender or a run, the files in its manifest are copied. For any other folder, the files that
    `_visible` returns are copied. A copy of the same version is reused, and copies of older versions are removed.

    Raises:
      UserError: if there is nothing at the address, its upload was not completed, or a file cannot be copied.
    """
    found = look(address)
    path = copy_of(address, found.version[:12])
    if not path.exists():
        _adopt(address, found, path)
    if not path.exists():
        _copy(address, found, path)
    return path


def look(address: str) -> Found:
    """Returns the files at an address; raises the same errors as `fetched`."""
    place = Place(address)
    if set(place.name) & set("*?["):
        return _folder(address, place.matching())
    if (file := place.file()) is not None:
        beside = {name: Place(f"{address.rpartition('/')[0]}/{name}").file() for name in _BESIDE}
        files = {**{name: each for name, each in beside.items() if each is not None}, place.name: file}
        return Found(files, digest_of(files), is_folder=False)
    for name in (MANIFEST, RUN_MANIFEST):
        content = (place / name).read()
        if content is not None:
            return of_manifest(place, name, content)
    return _folder(address, _visible(place))


def of_manifest(place: Place, name: str, content: bytes) -> Found:
    """Returns the files that a manifest lists.

    If the manifest is damaged, the result has no files; the reader of the copy then rejects the manifest.
    """
    try:
        listed = json.loads(content)["files"]
        lengths = {each: int(about["bytes"]) for each, about in listed.items() if _is_inside(each)}
    except (AttributeError, KeyError, TypeError, ValueError):
        lengths = {}
    files = {each: dataclasses.replace(place.entry(each), size=length) for each, length in lengths.items()}
    digest = hashlib.sha256(content).hexdigest()
    return Found(files, digest, {name: content}, lengths=lengths if name == RUN_MANIFEST else {})


def streamed(address: str, kind: str, endings: Sequence[str]) -> list[RemoteFile] | None:
    """Returns the files with the ending `kind` at an address, to be read without a copy.

    Returns None if there are no such files, or if there are also files with another ending from `endings`. Files with
    none of these endings are ignored, and so are lists of item ids beside a single file.
    """
    found = look(address)
    names = [name for name in found.files if found.is_folder or name == address.rpartition("/")[2]]
    kinds = {name: next((each for each in endings if each in PurePosixPath(name).suffixes), "") for name in names}
    if set(kinds.values()) - {""} != {kind}:
        return None
    root = address.partition("://")[0]
    return [RemoteFile(f"{root}://{found.files[name].path.lstrip('/')}") for name in names if kinds[name]]


def is_folder(address: str) -> bool:
    """Returns False for the address of one file; True for a folder, a pattern or a list of files."""
    return bool(set(address) & set("*?[,")) or Place(address).file() is None


def download(place: Place, found: Found, folder: Path) -> None:
    """Copies the files at an address into a folder.

    Raises:
      UserError: if a file cannot be copied, or is shorter than a run's manifest states.
    """
    paths = {name: folder / name for name in found.files}
    for each in {path.parent for path in paths.values()} | {folder}:
        each.mkdir(parents=True, exist_ok=True)
    place.fetch(list(found.files.values()), list(paths.values()))
    for name, length in found.lengths.items():
        if name.endswith(".json"):
            continue
        if (size := paths[name].stat().st_size) < length:
            raise UserError(
                f"{place.address}/{name} has {size} bytes, but {RUN_MANIFEST} lists {length}, so the file was "
                "changed; upload the workdir again"
            )
        with paths[name].open("r+b") as file:
            file.truncate(length)
    for name, content in found.content.items():
        (folder / name).write_bytes(content)


def _copy(address: str, found: Found, path: Path) -> None:
    total = sum(entry.size for entry in found.files.values())
    if total > _ANNOUNCED_BYTES:
        _LOGGER.warning("copying %s (%.1f GB) to %s", address, total / 1e9, path)
    parent = path.parent
    partial = parent.with_name(f".{parent.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        download(Place(address), found, partial / path.name if found.is_folder else partial)
        if not parent.exists():
            partial.rename(parent)
    except OSError as error:
        raise UserError(
            f"{address}: cannot be copied to {parent} ({error.strerror}); set SID_JAX_CACHE to another cache folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _remove_others(parent)


def _adopt(address: str, found: Found, path: Path) -> None:
    """If this machine uploaded the manifest at the address, renames the local folder of that upload to `path`."""
    written = copy_of(address, "out")
    try:
        same = bool(found.content) and all((written / name).read_bytes() == it for name, it in found.content.items())
        if same:
            written.parent.rename(path.parent)
    except OSError:
        return
    if same:
        _remove_others(path.parent)


def _remove_others(folder: Path) -> None:
    """Removes copies of other versions, and unfinished copies that are older than one day."""
    name = folder.name.rpartition("@")[0]
    for each in folder.parent.glob(f"{name}@*"):
        if each != folder and each.name.rpartition("@")[2] not in ("out", "run"):
            shutil.rmtree(each, ignore_errors=True)
    for each in folder.parent.glob(f".{name}@*.partial"):
        if time.time() - each.stat().st_mtime > _SECONDS_A_DAY:
            shutil.rmtree(each, ignore_errors=True)


def _folder(address: str, files: dict[str, Entry]) -> Found:
    if not files:
        raise UserError(f"{address}: no such file or folder in the bucket; check the address")
    return Found(files, digest_of(files))


def _visible(place: Place) -> dict[str, Entry]:
    """Returns the files of a folder, including those in subfolders with names of the form `name=value`.

    Files and subfolders whose names begin with "." or "_" are left out, except `_SUCCESS`.
    """
    children = place.children()
    if UPLOADING in children:
        raise UserError(f"{place.address}: the upload is not finished, or was killed; wait, or write the folder again")
    found: dict[str, Entry] = {}
    for name, entry in children.items():
        if name.startswith(".") or (name.startswith("_") and name != "_SUCCESS"):
            continue
        if entry is not None:
            found[name] = entry
        elif "=" in name:
            found |= {f"{name}/{each}": file for each, file in _visible(place / name).items()}
    return found


def _is_inside(name: str) -> bool:
    return not name.startswith("/") and ".." not in PurePosixPath(name).parts
