"""The same command again, as a scheduler's retry runs it: an export that is there is recognized by its inputs."""

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

# In a manifest, a SHA-256 of all inputs and settings that the export is a function of.
REQUEST = "request_sha256"
# What completes a folder of an export before it gets its name, such as by the report.
Finish = Callable[[Path], None]
_ROWS_A_BLOCK = 2**16


def request_digest(*parts: Any) -> str:
    """Returns the SHA-256 of inputs and settings: Arrow tables by their values, all else as JSON writes it."""
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
    """Returns the request that an export at `out` was made of; None if nothing is there.

    Raises:
      UserError: if the folder is taken by anything else, or could not be written.
    """
    if not is_taken(out) or not (out / "manifest.json").is_file():
        refuse_taken(out)
        return None
    request = read_manifest(out).get(REQUEST)
    if request is None:
        refuse_taken(out)
    return request


def is_the_same(out: Path, earlier: str | None, request: str, finish: Finish | None, messages: Messages) -> bool:
    """Whether the export that was asked for is there already; it is then completed by `finish`.

    Raises:
      UserError: if another export is there.
    """
    if earlier is None:
        return False
    if earlier != request:
        raise UserError(
            f"{out} exists and is not empty: it is an export of other inputs or settings; choose another folder, or "
            "remove it first"
        )
    if finish is not None:
        finish(out)
    messages.line(f"{out} is there already, from the same inputs and settings: nothing is left to do")
    return True
