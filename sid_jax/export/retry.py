"""Recognizes a repeated command, such as a scheduler's retry, whose export already exists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from sid_jax.errors import UserError
from sid_jax.export.atomic import is_taken, refuse_taken
from sid_jax.export.manifest import read_manifest
from sid_jax.messages import Messages

# Key in the manifest: the SHA-256 of all inputs and settings that determine the export.
REQUEST = "request_sha256"
# A function that completes an export's folder before it is published, for example by adding the report.
Finish = Callable[[Path], None]
_ROWS_A_BLOCK = 2**16


def request_digest(*parts: Any) -> str:
    """Returns the SHA-256 of inputs and settings. Arrow tables are hashed by their values, other parts as JSON."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, (pa.Table, pa.ChunkedArray)):
            for first in range(0, len(part), _ROWS_A_BLOCK):
                block = part.slice(first, _ROWS_A_BLOCK)
                values = block.to_pydict() if isinstance(block, pa.Table) else block.to_pylist()
                digest.update(json.dumps(values, default=repr).encode())
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def earlier_request(out: Path) -> str | None:
    """Returns the `request_digest` of the export at `out`; None if `out` does not exist or is empty.

    Raises:
      UserError: if the folder has other content, or cannot be written.
    """
    if not is_taken(out) or not (out / "manifest.json").is_file():
        refuse_taken(out)
        return None
    request = read_manifest(out).get(REQUEST)
    if request is None:
        refuse_taken(out)
    return request


def is_the_same(out: Path, earlier: str | None, request: str, finish: Finish | None, messages: Messages) -> bool:
    """Returns whether `out` already has the requested export, and calls `finish` with `out` in this case.

    Raises:
      UserError: if `out` has another export.
    """
    if earlier is None:
        return False
    if earlier != request:
        raise UserError(
            f"{out} exists and is not empty: it is an export of other inputs or settings; choose another folder, or "
            "delete this one first"
        )
    if finish is not None:
        finish(out)
    messages.line(f"{out} already has this export, from the same inputs and settings")
    return True
