"""Reads safetensors files with NumPy alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U8": "u1", "BOOL": "?"}


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the read-only arrays by name, and the metadata.

    The file consists of the length of the header as a little-endian uint64, the header in JSON, and the arrays.

    Raises:
      ValueError: if the file is damaged.
      OSError: if the file cannot be read.
    """
    content = path.read_bytes()
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header: dict[str, Any] = json.loads(content[8:start])
        metadata = header.pop("__metadata__", {})
        return {name: _array(content, start, about) for name, about in header.items()}, metadata
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged, or not a safetensors file of numbers ({error}); export again") from error


def _array(content: bytes, start: int, about: dict[str, Any]) -> np.ndarray:
    first, end = about["data_offsets"]
    kind, shape = np.dtype(_TYPES[about["dtype"]]), about["shape"]
    if end - first != kind.itemsize * math.prod(shape):
        raise ValueError(f"an array of shape {shape} has {end - first} bytes")
    return np.frombuffer(content, kind, math.prod(shape), start + first).reshape(shape)
