"""Locks a folder by a file in it, so that only one process at a time uses the folder. The file names the owner."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from sid_jax.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no fcntl.
    fcntl = None  # type: ignore[assignment]

# Name of the lock file in a folder.
LOCK_FILE = ".lock"

# Errors of file systems without locks, such as Lustre, some network disks and mounted buckets.
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


@contextlib.contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Returns a context manager that only one process at a time can enter. It removes its lock file at the end.

    A killed process leaves the file, but the operating system releases the lock, and the next process takes it. On a
    file system without locks, the existence of the file is the lock. Another process may take such a lock if its owner
    ran on this machine and has ended.

    Args:
      path: path of the lock file, in an existing folder.
      what: what the process does, for the message "another process is ...", such as "writing exports/items".

    Raises:
      UserError: if another process has the lock.
    """
    file = _take(path)
    if file is None:
        raise UserError(
            f"another process is {what} ({_owner(path)}); wait for it to end, stop it, or choose another folder"
        )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        file.close()


def is_free(path: Path) -> bool:
    """Returns whether the lock is free: held by no running process. Removes the file of a free lock."""
    file = _take(path)
    if file is not None:
        path.unlink(missing_ok=True)
        file.close()
    return file is not None


def _take(path: Path) -> IO[str] | None:
    """Acquires the lock and returns its open file; None if another process holds the lock."""
    file = path.open("a+")
    try:
        if _is_ours(file, path):
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def _is_ours(file: IO[str], path: Path) -> bool:
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "no locks")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if _is_stale(path):
            file.truncate(0)
        # If several processes write at the same time, the first line names the owner.
        return _written(file, path)
    # The previous owner may have removed the file after this process opened it, but before this process locked it.
    if not (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())):
        return False
    file.truncate(0)
    return _written(file, path)


def _written(file: IO[str], path: Path) -> bool:
    """Appends a line that names this process, and returns whether it is the first line of the file."""
    ours = {
        "host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%F %T"), "key": uuid.uuid4().hex
    }  # fmt: skip
    file.write(json.dumps(ours) + "\n")
    file.flush()
    return _read(path) == ours


def _is_stale(path: Path) -> bool:
    """Returns whether the file's owner ran on this machine and has ended."""
    owner = _read(path)
    if owner.get("host") != socket.gethostname():
        return False
    try:
        os.kill(owner["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _owner(path: Path) -> str:
    owner = _read(path)
    if not owner:
        return str(path)
    return f"process {owner['process']} on {owner['host']} since {owner['since']}"


def _read(path: Path) -> dict[str, Any]:
    try:
        owner = json.loads(path.read_text().partition("\n")[0])
        return owner if isinstance(owner, dict) and {"host", "process", "since"} <= set(owner) else {}
    except (OSError, ValueError):
        return {}
