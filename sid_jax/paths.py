"""Paths as people type them: the one reader of every path in a flag, a setting or an argument."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from sid_jax.errors import UserError

# `Path` makes one slash of two.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def as_path(text: str | os.PathLike[str]) -> Path:
    """Returns a path with `~` expanded, absolute, so that it means the same from another working directory.

    Raises:
      UserError: for the address of a bucket or a site, or `~` where no home folder is known.
    """
    text = os.fspath(text).removeprefix("file://")
    if (address := _ADDRESS.match(text)) and not Path(text).exists():
        raise UserError(
            f"{text}: addresses with {address[1]}:// are not supported; mount the bucket as a folder, or copy what is "
            "there to a disk"
        )
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise UserError(f"{text}: no home folder is known, see HOME; write the path without ~") from error


def file_to_write(text: str | os.PathLike[str]) -> Path:
    """Returns the path of a file that is to be written, whose folder is made: before the work that goes into it.

    Raises:
      UserError: as of `as_path`, and if it is a folder, or cannot be written.
    """
    path = as_path(text)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror} ({error.filename})") from error
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: its folder may not be written; name another file")
    return path


def typed(path: Path) -> str:
    """Returns a path as it may be pasted into a shell: quoted where it must be, short where it is in this folder."""
    path, here = path.absolute(), Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path != here and path.is_relative_to(here) else path))
