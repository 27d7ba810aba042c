"""A folder that is there whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sid_jax.errors import UserError


@contextlib.contextmanager
def atomic_folder(destination: str | Path) -> Iterator[Path]:
    """Gives a temporary folder to fill, which becomes the destination in one step when the block ends well.

    The folder, `.NAME.partial`, lies beside the destination, so that the last step is a rename within one file system.
    If the block raises, it is removed. If the process is killed, it stays, and the next writer to the same destination
    removes it: that no one is at work on it any more is known from a lock that dies with its process.

    Args:
      destination: a folder that does not exist, or is empty; parents that are missing are made.

    Yields:
      The temporary folder, empty.

    Raises:
      UserError: if the destination is taken or cannot be written, if another process is writing it, or if the block
        raises an OSError, as it does when the disk is full.
    """
    target = Path(destination).resolve()
    missing_parents: list[Path] = []
    try:
        refuse_taken(target)
        missing_parents += [parent for parent in target.parents if not parent.exists()]
        partial = target.with_name(f".{target.name}.partial")
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.with_name(f"{partial.name}-lock"), target):
            _remove(partial)
            try:
                partial.mkdir()
                yield partial
                _sync(partial)
                partial.rename(target)
            finally:
                _remove(partial)
        _sync_one(target.parent)
    except OSError as error:
        raise UserError(f"cannot write {target}: {_reason(error)}") from error
    finally:
        # Parents made in vain go again; one that has something in it, be it the destination, refuses to.
        for parent in missing_parents:
            with contextlib.suppress(OSError):
                parent.rmdir()


def refuse_taken(target: Path) -> None:
    """Refuses a destination that `atomic_folder` could not replace, before any work goes into it.

    Raises:
      UserError: if it is a file, a mount point or a folder that is not empty, or if one of its parents is a file.
    """
    target = target.resolve()
    existing = next(path for path in (target, *target.parents) if path.exists())
    if existing != target:
        if not existing.is_dir():
            raise UserError(f"cannot write {target}: {existing} is a file; choose another folder")
    elif not target.is_dir():
        raise UserError(f"{target} is a file; choose another folder")
    elif target.is_mount():
        raise UserError(f"{target} is a mount point, which cannot be replaced; choose a folder inside it")
    elif any(target.iterdir()):
        raise UserError(f"{target} exists and is not empty; choose another folder, or remove it first")


@contextlib.contextmanager
def _locked(path: Path, target: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The writer before us may have removed the file between our opening and locking it.
            ours = path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
        except BlockingIOError:
            ours = False
        if not ours:
            raise UserError(
                f"another process is writing {target} at this moment; wait for it, or choose another folder"
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _remove(partial: Path) -> None:
    if partial.exists():
        shutil.rmtree(partial)


def _sync(folder: Path) -> None:
    """Sees to it that what is in the folder is on the disk before the folder gets its final name."""
    for path in (*folder.rglob("*"), folder):
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    # Some libraries put more than the reason into their errors' texts, over several lines; the number says it all.
    reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
    return f"{reason} ({error.filename})" if error.filename else reason
