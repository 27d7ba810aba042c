"""Semantic IDs in JAX: from item vectors to short, unique tuples of codes that mean something."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

__all__ = ["ids", "load_export"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: a program that wants one function of the library does not wait for the rest.
    if name == "load_export":
        from sid_jax.export.artifact import load_export

        return load_export
    if name == "ids":
        return importlib.import_module("sid_jax.ids")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
