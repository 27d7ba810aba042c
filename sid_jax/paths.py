"""Parsing and formatting of user paths: every path in a flag, setting or argument is read here."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from sid_jax.errors import UserError

# One slash is enough, since `Path` collapses "//" to "/".
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def as_path(text: str | os.PathLike[str]) -> Path:
    """Returns an absolute path with `~` expanded, which does not depend on the working directory.

    Raises:
      UserError: if it is the address of a bucket or a site, or has `~` and no home folder is known.
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
    """Returns the path of an output file and creates its folder, to fail before any work if it cannot be written.

    Raises:
      UserError: as `as_path`, and if it is a folder, or cannot be written.
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
    """Returns a path for pasting into a shell: quoted if needed, and relative if it is in the working directory."""
    path, here = path.absolute(), Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path != here and path.is_relative_to(here) else path))
