"""Parses and formats the paths of flags, settings and arguments."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from sid_jax.errors import UserError, shown

# The pattern also matches addresses with one slash, since `Path` collapses "//" to "/".
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
# For each scheme of bucket addresses: the kind of storage, and the package that fsspec needs for it.
SCHEMES = {
    "gs": ("gs", "gcsfs"),
    "gcs": ("gs", "gcsfs"),
    "s3": ("s3", "s3fs"),
    "az": ("az", "adlfs"),
    "abfs": ("az", "adlfs"),
    "hf": ("hf", "huggingface_hub"),
    "memory": ("memory", "fsspec"),
}


def as_path(text: str | os.PathLike[str]) -> Path:
    """Returns an absolute path, with `~` expanded.

    For an address in a bucket, it returns the path of a local copy; see `sid_jax.buckets.fetch.fetched`.

    Raises:
      UserError: if the address is not supported or cannot be fetched; if the path is empty or has bytes that are not
        UTF-8; if the path has `~`, but the home folder is unknown; or if the path is relative, but the working
        directory no longer exists.
    """
    if (address := bucket_address(text)) is not None:
        # `fetched` is imported here, since only addresses in buckets need it.
        from sid_jax.buckets.fetch import fetched

        return fetched(address)
    return local_path(text)


def bucket_address(text: str | os.PathLike[str]) -> str | None:
    """Returns an address in a bucket as "scheme://bucket/path"; None if the text is not the address of a bucket."""
    text = os.fspath(text)
    found = _ADDRESS.match(text)
    if found is None or found[1] not in SCHEMES or Path(text).exists():
        return None
    return f"{found[1]}://{text[found.end() :].rstrip('/')}"


def local_path(text: str | os.PathLike[str]) -> Path:
    """Returns a path as `as_path` does, but rejects the addresses of buckets."""
    # The pattern also matches "file:/folder", to which `Path` collapses "file:///folder".
    text = re.sub("^file:(//|(?=/))", "", os.fspath(text))
    if not text:
        raise UserError('a path is empty, perhaps because a variable is not set; give a path, or "." for this folder')
    # Arrow takes paths in UTF-8 only. Python represents bytes that are not UTF-8 by surrogates. In an ASCII locale, it
    # represents all non-ASCII characters in the same way.
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(
            f"{shown(text)}: the path has bytes that are not UTF-8 text; set a locale with UTF-8, as in "
            "LC_ALL=C.UTF-8, or rename the file"
        )
    if (address := _ADDRESS.match(text)) and not Path(text).exists():
        where = "cannot be used here" if address[1] in SCHEMES else "are not supported"
        raise UserError(
            f"{text}: addresses with {address[1]}:// {where}; mount the bucket as a folder, or copy its files to a disk"
        )
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        name = Path(text).parts[0]
        cause = "HOME is not set" if name == "~" else f"there is no user {name[1:]!r}"
        raise UserError(f"{text}: the home folder is unknown, since {cause}; write the path without ~") from error
    except FileNotFoundError as error:
        raise UserError(
            f"{text}: the working directory no longer exists; change to another folder, or give an absolute path"
        ) from error


def file_to_write(text: str | os.PathLike[str]) -> Path:
    """Returns the path of an output file and creates its folder, so that an unwritable path fails before any work.

    Raises:
      UserError: if `as_path` rejects the path, or if the path is a folder, a device or a pipe, or cannot be written.
    """
    if (address := bucket_address(text)) is not None:
        from sid_jax.buckets.outputs import output_file

        return output_file(address)
    path = as_path(text)
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file")
    if _is_device(path):
        raise UserError(f"{path} is a device or a pipe; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror} ({error.filename})") from error
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: no permission to write to its folder; choose another file")
    return path


def _is_device(path: Path) -> bool:
    """Returns whether a path is a device, a pipe or a socket.

    An output is written to a temporary file, which is then renamed to the output's path. The renaming would replace a
    device by a file. /dev/stdout, a link through /proc, counts as a device even if it leads to a file.
    """
    folder = path.parent.resolve()
    return (path.exists() and not path.is_file()) or folder == Path("/dev") or folder.is_relative_to("/proc")


def typed(path: Path) -> str:
    """Returns a path for pasting into a shell: quoted if needed, and relative if it is in the working directory.

    For the local copy of an address in a bucket, the result is the address.
    """
    from sid_jax.buckets.names import address_of

    if (address := address_of(path)) is not None:
        return shlex.quote(address)
    try:
        path, here = path.absolute(), Path.cwd()
    except FileNotFoundError:  # The working directory was removed.
        return shlex.quote(str(path))
    return shlex.quote(str(path.relative_to(here) if path != here and path.is_relative_to(here) else path))
