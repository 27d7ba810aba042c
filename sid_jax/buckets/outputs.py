"""Writes folders and files in the cache folder, and uploads them to their addresses when they are complete."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from sid_jax.buckets.fetch import MANIFEST, UPLOADING, download, look
from sid_jax.buckets.names import address_of, copy_of
from sid_jax.buckets.place import Place
from sid_jax.errors import UserError
from sid_jax.paths import bucket_address, local_path
from sid_jax.signals import Interruption, refuse_to_go_on

# Calls of `copy_of` for outputs have the argument `version=_VERSION`. `_PROBE` is the name of an object that is written
# to test whether writing is possible.
_VERSION, _PROBE = "out", ".writable"


def output_folder(text: str | Path, *, unless: str = MANIFEST) -> Path:
    """Returns the local folder to which an output is written.

    For a local path, it is this path. For an address, it is a folder in the cache, which is uploaded to the address
    when the output is complete. If the address already has a finished folder (with a file named `unless`), its files
    are copied to the local folder, so that a writer can compare them with its own output.

    Raises:
      UserError: if the address is a file, has files that belong neither to a finished folder nor to an unfinished
        upload, or cannot be read or written.
    """
    if (address := bucket_address(text)) is None:
        return local_path(text)
    folder, place = copy_of(address, _VERSION), Place(address)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if place.file() is not None:
        raise UserError(f"{address} is a file; choose another folder")
    there = place.children()
    if there.keys() <= {_PROBE} or (UPLOADING in there and MANIFEST not in there):
        _refuse_unwritable(place)
    elif unless not in there:
        raise UserError(f"{address} exists and is not empty; choose another folder, or delete this one first")
    else:
        download(place, look(address), folder)
    return folder


def output_file(address: str) -> Path:
    """Returns the local file that `sid_jax.whole_file.whole_file` uploads to an address after writing it."""
    if is_prefix(address):
        raise UserError(f"{address} is a folder; give the name of a file")
    path = copy_of(address, _VERSION)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def is_prefix(address: str) -> bool:
    """Returns whether there are files under an address."""
    place = Place(address)
    return place.file() is None and bool(place.children())


def output_address(path: Path) -> str | None:
    """Returns the address to which a local output is uploaded; None for other paths."""
    address = address_of(path)
    return address if address is not None and any(each.name.endswith(f"@{_VERSION}") for each in path.parents) else None


def upload_file(path: Path, address: str) -> None:
    """Uploads one file atomically."""
    Place(address).put([path], [""])


def upload_folder(folder: Path, address: str, *, done: Callable[[], None]) -> None:
    """Uploads the files of a folder, `manifest.json` last, and then calls `done`.

    A file `.uploading` marks the folder as incomplete during the upload. Files of a killed upload are replaced. The
    writer that started last wins: an earlier writer stops when it finds the other writer's mark.

    Raises:
      UserError: if a file cannot be written, another process uploads to the same address, or a manifest exists.
    """
    place = Place(address)
    if (place / MANIFEST).file() is not None:
        raise UserError(f"{address} exists now, since another process has written it; choose another folder")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    mark, ours = place / UPLOADING, uuid.uuid4().hex.encode()
    mark.write(ours)
    place.remove([name for name in place.tree() if name not in (*names, UPLOADING)])
    for name in names:
        if name != MANIFEST:
            _refuse_another(mark, ours)
            place.put([folder / name], [name])
    _refuse_another(mark, ours)
    refuse_to_go_on()
    with Interruption() as interruption:
        if MANIFEST in names:
            (place / MANIFEST).write((folder / MANIFEST).read_bytes(), only_if_absent=True)
        place.remove([UPLOADING])
        done()
    interruption.pass_on()


def _refuse_unwritable(place: Place) -> None:
    """Writes and removes an object, so that an unwritable address fails before any work."""
    (place / _PROBE).write(b"")
    place.remove([_PROBE])


def _refuse_another(mark: Place, ours: bytes) -> None:
    if mark.read() != ours:
        raise UserError(
            f"{mark.address.rpartition('/')[0]}: another process is also writing this folder; choose another folder"
        )
