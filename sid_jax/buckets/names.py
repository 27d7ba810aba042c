"""Chooses the paths of local copies of files in buckets, and finds a copy's address for messages and uploads."""

from __future__ import annotations

import re
from pathlib import Path

from sid_jax.cache import cache_folder

# The addresses that this process uses, by the path of their local copies.
_ADDRESSES: dict[Path, str] = {}
_UNSAFE = re.compile(r"[^A-Za-z0-9._=+-]")


def copy_of(address: str, version: str) -> Path:
    """Returns the path of the local copy of one version of the content at an address.

    The path is `<cache>/buckets/<scheme>/<bucket>/.../<name>@<version>/<name>`.
    """
    scheme, _, rest = address.partition("://")
    # Characters with a special meaning, such as "*" in patterns, "," in lists of files or ":" on Windows, become "_".
    *parents, name = [_UNSAFE.sub("_", part) or "_" for part in rest.split("/")]
    path = cache_folder().resolve().joinpath("buckets", scheme, *parents, f"{name}@{version}", name)
    _ADDRESSES[path] = address
    return path


def address_of(path: Path) -> str | None:
    """Returns the address of a local copy, or of a path inside a local copy; None for other paths."""
    for each in (path, *path.parents) if _ADDRESSES else ():
        if each in _ADDRESSES:
            rest = path.relative_to(each).as_posix()
            return _ADDRESSES[each] if rest == "." else f"{_ADDRESSES[each]}/{rest}"
    return None


def with_addresses(text: str) -> str:
    """Returns a message in which the paths of local copies are replaced by their addresses."""
    for path in sorted(_ADDRESSES, key=lambda path: -len(str(path))):
        text = text.replace(str(path), _ADDRESSES[path])
    return text
