"""One process at a time in a folder: a lock that dies with its process, and says whose it is."""

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
except ImportError:  # On Windows.
    fcntl = None  # type: ignore[assignment]

# In a folder that one process at a time works in.
LOCK_FILE = ".lock"

# What file systems without locks say: Lustre, some network disks, mounted buckets.
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


@contextlib.contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """A context that one process at a time is in; the lock is a file, which is gone afterwards.

    A process that is killed leaves the file, and the next one takes it over: the system frees the lock itself. Where
    the file system has no locks, the file is the lock, and is taken over if its process was on this machine and is no
    more.

    Args:
      path: of the file, in a folder that exists.
      what: the work, as in "another process is writing exports/items".

    Raises:
      UserError: if another process has it.
    """
    file = _take(path)
    if file is None:
        raise UserError(f"another process is {what} ({_owner(path)}): wait for it, stop it, or choose another folder")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        file.close()


def is_free(path: Path) -> bool:
    """Whether a lock's file was left by a process that is no more; whoever asks then has removed it."""
    file = _take(path)
    if file is not None:
        path.unlink(missing_ok=True)
        file.close()
    return file is not None


def _take(path: Path) -> IO[str] | None:
    """Returns the file of the lock, which is this process's; None if it is another's."""
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
        # Of several that write at a time the first is the owner.
        return _written(file, path)
    # The process before may have removed the file between our opening and locking it.
    if not (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())):
        return False
    file.truncate(0)
    return _written(file, path)


def _written(file: IO[str], path: Path) -> bool:
    """Whether the first line of the file is ours, once we have written one."""
    ours = {
        "host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%F %T"), "key": uuid.uuid4().hex
    }  # fmt: skip
    file.write(json.dumps(ours) + "\n")
    file.flush()
    return _read(path) == ours


def _is_stale(path: Path) -> bool:
    """Whether the process that the file names was on this machine and is no more."""
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
