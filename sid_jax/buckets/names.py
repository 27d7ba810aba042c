"""The local copies of addresses, and the address of each copy, for messages and for writing back."""

from __future__ import annotations

import re
from pathlib import Path

from sid_jax.cache import cache_folder

# In this process, by the path of the copy.
_ADDRESSES: dict[Path, str] = {}
_UNSAFE = re.compile(r"[^A-Za-z0-9._=+-]")


def copy_of(address: str, version: str) -> Path:
    """Returns the path of a version's local copy, `<cache>/buckets/<scheme>/<bucket>/.../<name>@<version>/<name>`."""
    scheme, _, rest = address.partition("://")
    # Characters with a meaning in patterns, lists of files or other systems are replaced.
    *parents, name = [_UNSAFE.sub("_", part) or "_" for part in rest.split("/")]
    path = cache_folder().resolve().joinpath("buckets", scheme, *parents, f"{name}@{version}", name)
    _ADDRESSES[path] = address
    return path


def address_of(path: Path) -> str | None:
    """Returns the address whose copy a local path is or lies in; None for other paths."""
    for each in (path, *path.parents) if _ADDRESSES else ():
        if each in _ADDRESSES:
            rest = path.relative_to(each).as_posix()
            return _ADDRESSES[each] if rest == "." else f"{_ADDRESSES[each]}/{rest}"
    return None


def with_addresses(text: str) -> str:
    """Returns a message with the addresses instead of the paths of their local copies."""
    for path in sorted(_ADDRESSES, key=lambda path: -len(str(path))):
        text = text.replace(str(path), _ADDRESSES[path])
    return text
