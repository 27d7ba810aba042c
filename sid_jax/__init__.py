"""Semantic IDs in JAX: from item vectors to short, unique tuples of codes that mean something."""

from __future__ import annotations

from typing import Any

__all__ = ["load_export"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: a program that wants one function of the library does not wait for the rest.
    if name == "load_export":
        from sid_jax.export.load import load_export

        return load_export
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
