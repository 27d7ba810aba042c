"""Writes files atomically: a reader never sees a partial file, and concurrent writers do not interfere."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sid_jax.buckets.outputs import output_address, upload_file


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Returns a context manager that writes to `.NAME.RANDOM.partial`, and renames it to `path` if the block succeeds.

    If `path` is the local copy of an address in a bucket, the file is then uploaded.

    Raises:
      OSError: if the file cannot be written; an existing file is then unchanged.
      UserError: if the file cannot be uploaded.
    """
    # Each writer uses a unique name, since several threads, processes and machines may write the same path at the same
    # time.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
        if (address := output_address(path)) is not None:
            upload_file(path, address)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically; accepts NumPy arrays and numbers. Raises OSError as `whole_file` does."""
    text = json.dumps(content, indent=2, default=_plain) + "\n"
    with whole_file(path) as file:
        file.write(text.encode())


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
