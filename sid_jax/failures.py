"""Turns any exception into the one-line error message of a command; `--debug` shows the traceback."""

from __future__ import annotations

import os

from sid_jax.buckets.names import with_addresses
from sid_jax.errors import UserError, reason

_LESS_MEMORY = (
    "lower --config.train.batch_size; for a large catalog, also lower --config.train.resident_bytes, so that the "
    "vectors stay"
)


def in_one_line(error: BaseException) -> str:
    """Returns a one-line message for an exception, with its cause and a remedy."""
    if isinstance(error, UserError):
        return with_addresses(str(error))
    text = reason(error)
    if "RESOURCE_EXHAUSTED" in text or "Out of memory" in text:
        return f"the device's memory is full ({text}): {_LESS_MEMORY} on the host"
    if isinstance(error, MemoryError):
        return f"this machine's memory is full ({text}): {_LESS_MEMORY} in their file"
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if _is_of_backends(error) and platforms not in ("", "cpu"):
        return (
            f"JAX_PLATFORMS is {platforms}, but JAX finds no such device; install JAX for this device and check its "
            "driver, or unset JAX_PLATFORMS to use the CPU"
        )
    if isinstance(error, OSError):
        # For errors such as a full disk, the text of the operating system and the name of the file are enough.
        return f"{error.strerror}: {error.filename}" if error.strerror and error.filename else text
    if isinstance(error, ImportError):
        return f"a package is missing or broken ({text}); install sid_jax again with pip"
    return f"unexpected {type(error).__name__}: {text}; run the command with --debug to see the traceback"


def _is_of_backends(error: BaseException) -> bool:
    """Returns whether the error means that JAX found no device.

    JAX raises a RuntimeError, or an AssertionError after an earlier failure.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = trace.tb_frame.f_code.co_filename if trace is not None else ""
    return where.endswith("xla_bridge.py") and isinstance(error, (RuntimeError, AssertionError))
