"""Files that are whole or not there: a reader never sees half of one, and no two writers meet in one."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Gives a file to write, `.NAME.RANDOM.partial`, which becomes `path` in one step when the block has ended well.

    Raises:
      OSError: if it cannot be written; what was there before is then untouched.
    """
    # A name of its own for each writer: several threads, processes and machines may write one path at a time.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def write_json(path: Path, content: Any) -> None:
    """Writes a whole JSON file; NumPy's arrays and numbers become plain ones. Raises OSError as `whole_file` does."""
    text = json.dumps(content, indent=2, default=_plain) + "\n"
    with whole_file(path) as file:
        file.write(text.encode())


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
