"""Writes folders atomically: a folder is either complete or does not exist.

On file systems that cannot rename folders, an unfinished copy is marked by the file `.copying`.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sid_jax.buckets.outputs import output_address, upload_folder
from sid_jax.errors import UserError
from sid_jax.locks import alone, is_free
from sid_jax.signals import Interruption, has_published, refuse_to_go_on

_PARTIAL, _LOCK = ".partial", "-lock"
# `_LAST` is the file that is written last in an export. `_COPYING` marks an unfinished copy of a folder.
_LAST, _COPYING = "manifest.json", ".copying"
# `_NO_RENAME` are the errors of file systems that cannot rename a folder, such as mounted buckets and overlays.
# `_NO_SYNC` are the errors of file systems without `fsync`.
_NO_RENAME = {errno.EXDEV, errno.EMFILE, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextlib.contextmanager
def atomic_folder(destination: str | Path) -> Iterator[Path]:
    """Yields a temporary folder, which is renamed to the destination if the block succeeds.

    The temporary folder is `.NAME.partial` in the destination's parent folder, so that the rename stays within one file
    system. If the block raises, the temporary folder is removed. If the process is killed, the temporary folder
    stays, but its lock is released. The next process that writes to the same parent folder removes the temporary
    folder.

    Args:
      destination: a folder that does not exist or is empty; missing parents are created.

    Yields:
      The temporary folder, which is empty.

    Raises:
      UserError: if the destination is not empty or cannot be written, if another process is writing it, or if the block
        raises an OSError, for example because the disk is full.
    """
    refuse_taken(Path(destination))
    with partial_folder(destination) as partial:
        yield partial
        publish(partial, destination)


@contextlib.contextmanager
def partial_folder(destination: str | Path) -> Iterator[Path]:
    """Yields a temporary folder as `atomic_folder` does, but removes it at the end unless the block calls `publish`."""
    target = Path(destination).resolve()
    missing_parents: list[Path] = []
    try:
        missing_parents += [parent for parent in target.parents if not parent.exists()]
        partial = target.with_name(f".{target.name}{_PARTIAL}")
        target.parent.mkdir(parents=True, exist_ok=True)
        _collect(target.parent)
        with alone(target.with_name(f"{partial.name}{_LOCK}"), f"writing {target}"):
            _remove(partial)
            try:
                partial.mkdir()
                yield partial
            finally:
                _remove(partial)
    except OSError as error:
        raise UserError(f"cannot write {target}: {_reason(error)}") from error
    finally:
        # Remove the parents that were created and are still empty; `rmdir` fails for a folder that is not empty.
        for parent in missing_parents:
            with contextlib.suppress(OSError):
                parent.rmdir()


def publish(partial: Path, destination: str | Path) -> None:
    """Renames the folder of `partial_folder` to the destination, or copies it if folders cannot be renamed.

    In a copy, the manifest is written last, since an export without a manifest is incomplete. If the destination is the
    local copy of an address in a bucket, the folder is first uploaded, with its manifest as the last file.
    """
    target = Path(destination).resolve()
    _sync(partial)
    refuse_to_go_on()
    if (address := output_address(target)) is not None:
        upload_folder(partial, address, done=has_published)
    with Interruption() as interruption:
        if renamed := _renamed(partial, target):
            has_published()
    interruption.pass_on()
    if not renamed:
        _copy(partial, target)
        has_published()
    _sync_one(target.parent)


def publish_once(partial: Path, destination: str | Path) -> bool:
    """Publishes as `publish` does; returns False and writes nothing if the destination has the same files (a retry).

    Raises:
      UserError: if the destination has other files.
    """
    target = Path(destination).resolve()
    if is_taken(target):
        ours, theirs = ({path.relative_to(each): path for path in _files(each)} for each in (partial, target))
        # Manifests are not compared, since each contains the time at which it was written.
        same = ours.keys() == theirs.keys() and all(
            filecmp.cmp(path, theirs[name], shallow=False) for name, path in ours.items() if path.name != _LAST
        )
        if same:
            return False
        refuse_taken(target)
    publish(partial, destination)
    return True


def is_taken(target: Path) -> bool:
    """Returns whether a folder has content, other than the unfinished copy of a killed process."""
    return target.is_dir() and any(target.iterdir()) and not (target / _COPYING).exists()


def refuse_taken(target: Path, unless: str = "") -> None:
    """Rejects a destination that `atomic_folder` could not replace, before any work is done.

    If `unless` is given, it is the name of a file. A folder that has this file is accepted here, since `publish_once`
    may later find the same files in the folder.

    Raises:
      UserError: if the destination is a file, a mount point or a folder that is not empty, or if a parent is a file.
    """
    target = target.resolve()
    try:
        existing = next(path for path in (target, *target.parents) if path.exists())
    except OSError as error:  # One cause is a name that is too long.
        raise UserError(f"cannot write {target}: {error.strerror}; choose another folder") from error
    if existing != target:
        if not existing.is_dir():
            raise UserError(f"cannot write {target}: {existing} is a file; choose another folder")
    elif not target.is_dir():
        raise UserError(f"{target} is a file; choose another folder")
    elif target.is_mount():
        raise UserError(f"{target} is a mount point and cannot be replaced; choose a folder inside it")
    elif is_taken(target) and not (unless and (target / unless).is_file()):
        raise UserError(f"{target} exists and is not empty; choose another folder, or delete this one first")


def _collect(parent: Path) -> None:
    """Removes the temporary folders that killed processes left in a folder."""
    for lock in parent.glob(f".*{_PARTIAL}{_LOCK}"):
        with contextlib.suppress(OSError):
            if is_free(lock):
                _remove(lock.with_name(lock.name.removesuffix(_LOCK)))


def _renamed(partial: Path, target: Path) -> bool:
    """Renames the folder; returns False if the file system cannot rename folders."""
    try:
        if (target / _COPYING).exists():
            shutil.rmtree(target)
        partial.rename(target)
    except OSError as error:
        if error.errno not in _NO_RENAME:
            raise
        return False
    return True


def _copy(partial: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    (target / _COPYING).touch()
    try:
        files = [path.relative_to(partial) for path in _files(partial)]
        for path in sorted(files, key=lambda path: path.name == _LAST):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(partial / path, target / path)
        (target / _COPYING).unlink()
    except BaseException:
        _remove(target)
        raise


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _remove(partial: Path) -> None:
    if partial.exists():
        shutil.rmtree(partial)


def _sync(folder: Path) -> None:
    """Flushes the folder's content to disk before the folder gets its final name."""
    for path in (*folder.rglob("*"), folder):
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    # Some libraries put several lines of text into their errors; the error number is enough.
    reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
    return f"{reason} ({error.filename})" if error.filename else reason
