"""Detects the use of JAX in a forked process. Such a process lacks JAX's threads, so calls to JAX would hang."""

from __future__ import annotations

import os

from sid_jax.errors import UserError

_first_user: int | None = None


def refuse_in_forked_child() -> None:
    """Rejects a process that was forked from one that had used JAX; call it before each use of JAX.

    The first call records the process that uses JAX.

    Raises:
      UserError: if the process was forked from one that had used JAX.
    """
    global _first_user
    if _first_user not in (None, os.getpid()):
        raise UserError(
            "this process was forked from one that had used sid_jax, and JAX does not work in forked processes; "
            "start workers with 'spawn' (DataLoader(..., multiprocessing_context='spawn')), or encode before the "
            "workers start"
        )
    _first_user = os.getpid()
