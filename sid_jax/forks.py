"""JAX does not survive a fork: a child lacks its threads, and a call would wait for them forever."""

from __future__ import annotations

import os

from sid_jax.errors import UserError

_first_user: int | None = None


def refuse_in_forked_child() -> None:
    """Notes that this process uses JAX; to be called before each use.

    Raises:
      UserError: if the process was forked from one that had used it.
    """
    global _first_user
    if _first_user not in (None, os.getpid()):
        raise UserError(
            "sid_jax was used in the process that this one was forked from, and JAX does not work in a forked process: "
            "start worker processes by 'spawn' (DataLoader(..., multiprocessing_context='spawn')), or encode before "
            "they start"
        )
    _first_user = os.getpid()
