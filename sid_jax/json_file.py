"""JSON that is whole or not there: a reader never sees half of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def write_json(path: Path, content: Any) -> None:
    """Writes a file in one step; NumPy's arrays and numbers become plain ones.

    Raises:
      OSError: if it cannot be written; what was there before is then untouched.
    """
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2, default=_plain) + "\n")
    partial.replace(path)


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
