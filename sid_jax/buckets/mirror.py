"""Workdirs in buckets: training writes a local folder, which is copied to the bucket after each checkpoint."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from sid_jax.buckets.fetch import RUN_MANIFEST, download, of_manifest
from sid_jax.buckets.names import copy_of
from sid_jax.buckets.place import Place
from sid_jax.errors import UserError
from sid_jax.locks import LOCK_FILE, alone
from sid_jax.paths import bucket_address, local_path

_FORMAT_VERSION = 1
# Paths that contain one of these texts are not copied. They belong to unfinished checkpoints, unfinished files and
# locks.
_UNFINISHED = ("orbax-checkpoint-tmp", ".partial", LOCK_FILE)
# Mirrors of this process, by local folder.
_MIRRORS: dict[Path, Mirror] = {}


@contextlib.contextmanager
def workdir_of(text: str | os.PathLike[str]) -> Iterator[Path]:
    """Returns a context manager that yields the local workdir of a run.

    For an address in a bucket, the run's files are first copied from the bucket to the local workdir. The local workdir
    is copied to the bucket after each checkpoint (through `mirror_above`), and at the end of the block unless the block
    raises.

    Raises:
      UserError: if the bucket cannot be used, or the address has content that is not a run.
    """
    if (address := bucket_address(text)) is None:
        yield local_path(text)
        return
    mirror = Mirror(address)
    _MIRRORS[mirror.folder] = mirror
    try:
        yield mirror.folder
        mirror.sync()
    finally:
        del _MIRRORS[mirror.folder]


def mirror_above(folder: Path) -> Mirror | None:
    """Returns the mirror of the workdir that contains a folder; None for other folders."""
    return next((mirror for root, mirror in _MIRRORS.items() if folder.is_relative_to(root)), None)


class Mirror:
    """A local workdir and its copy in a bucket. The copy always has the state of the last `sync`.

    `workdir.json` lists the files and their numbers of bytes. JSON files may be replaced; each of them is valid by
    itself. Other files are only appended to (metrics, events) or written once (checkpoints). The number of bytes of
    such a file therefore determines its content at the last `sync`, even while newer content is being uploaded.

    Args:
      address: the workdir in the bucket.

    Raises:
      UserError: if the bucket cannot be used, or the address has content that is not a run.
    """

    def __init__(self, address: str):
        self._place, self.folder = Place(address), copy_of(address, "run")
        self._writer = uuid.uuid4().hex
        self.folder.mkdir(parents=True, exist_ok=True)
        # `alone` raises a UserError if another process on this machine trains in this folder: the files of that process
        # must not be removed.
        with alone(self.folder / LOCK_FILE, f"using {address}"):
            for path in self.folder.iterdir():
                if path.name != LOCK_FILE:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            sizes: dict[str, int] = {}
            content = (self._place / RUN_MANIFEST).read()
            if content is not None:
                found = of_manifest(self._place, RUN_MANIFEST, content)
                download(self._place, found, self.folder)
                (self.folder / RUN_MANIFEST).unlink()
                sizes = found.lengths
            elif self._place.children():
                raise UserError(f"{address} is not empty, and does not contain a run; choose another --workdir")
            # This upload checks write access before training begins. It also replaces the manifest, so another process
            # that trains in this workdir stops at its next checkpoint.
            self._write(sizes)
        self._there = set(self._place.tree()) - {RUN_MANIFEST}
        self._sent = {name: _signature(self.folder / name) for name in self._names()}

    def sync(self) -> None:
        """Uploads new and changed files, then `workdir.json`; then removes remote files that are missing locally.

        Raises:
          UserError: if a file cannot be written, or another process trains in the same workdir.
        """
        if (self._place / RUN_MANIFEST).read() != self._known:
            raise UserError(
                f"{self._place.address}: another process has begun to train in this --workdir, so this process stops; "
                "choose another --workdir"
            )
        files = {name: _signature(self.folder / name) for name in self._names()}
        changed = [name for name, signature in files.items() if self._sent.get(name) != signature]
        self._place.put([self.folder / name for name in changed], changed)
        self._there |= files.keys()
        self._write({name: size for name, (size, _) in files.items()})
        self._place.remove(sorted(self._there - files.keys()))
        self._sent, self._there = files, set(files)

    def _write(self, sizes: dict[str, int]) -> None:
        files = {name: {"bytes": size} for name, size in sizes.items()}
        content = {"format_version": _FORMAT_VERSION, "writer": self._writer, "files": files}
        self._known = (json.dumps(content, indent=2) + "\n").encode()
        (self._place / RUN_MANIFEST).write(self._known)

    def _names(self) -> list[str]:
        """Returns the files of the workdir, without locks and unfinished files."""
        found = []
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder)
            unfinished = any(sign in part for part in name.parts for sign in _UNFINISHED)
            if path.is_file() and not unfinished:
                found.append(name.as_posix())
        return found


def _signature(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns
