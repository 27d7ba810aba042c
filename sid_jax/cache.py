"""Locates the cache folder, which holds prepared data sets and compiled programs."""

from __future__ import annotations

import os
from pathlib import Path

from sid_jax.errors import UserError
from sid_jax.paths import local_path


def cache_folder(cache_dir: str = "") -> Path:
    """Returns the cache folder: `cache_dir`, or else $SID_JAX_CACHE, or else `~/.cache/sid_jax`.

    Raises:
      UserError: if `sid_jax.paths.local_path` rejects the path, for example because it is an address in a bucket.
    """
    return local_path(cache_dir or os.environ.get("SID_JAX_CACHE") or "~/.cache/sid_jax")


def keep_compiled_programs() -> None:
    """Enables JAX's persistent compilation cache in the cache folder, for this process and its child processes.

    Call it before JAX is imported. JAX's own environment variables, such as JAX_COMPILATION_CACHE_DIR, take precedence.
    If the folder cannot be created, nothing is cached.
    """
    try:
        folder = cache_folder() / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, UserError):
        return
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    # Many small programs are compiled at the start, so programs of any size and compile time are cached.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    # This hides the errors that XLA logs when it loads a program that was compiled for another type of CPU.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
