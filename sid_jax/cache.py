"""The folder for what a second run need not do again: prepared data sets, and compiled programs."""

from __future__ import annotations

import os
from pathlib import Path

from sid_jax.errors import UserError
from sid_jax.paths import as_path


def cache_folder(cache_dir: str = "") -> Path:
    """Returns `cache_dir`, or else $SID_JAX_CACHE, or else `~/.cache/sid_jax`.

    Raises:
      UserError: where there is no home folder.
    """
    return as_path(cache_dir or os.environ.get("SID_JAX_CACHE") or "~/.cache/sid_jax")


def keep_compiled_programs() -> None:
    """Has JAX keep what it compiles in the cache folder, for this process and those that it starts.

    It must come before JAX is imported. JAX's own variables go first, JAX_COMPILATION_CACHE_DIR among them. Where the
    folder cannot be made, nothing is kept.
    """
    try:
        folder = cache_folder() / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, UserError):
        return
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    # Programs of the start are many and small: each is worth keeping.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    # A program that was compiled for another machine is compiled again, of which XLA speaks as of an error.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
