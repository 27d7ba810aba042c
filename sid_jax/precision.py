"""How public functions use JAX: in 32 bits, whatever `jax_enable_x64` is, and not in a forked process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sid_jax.forks import refuse_in_forked_child

P = ParamSpec("P")
T = TypeVar("T")


def in_32_bits(function: Callable[P, T]) -> Callable[P, T]:
    """Has JAX compute in 32 bits within a function: in 64 bits random numbers, and so models, would be others.

    The function raises UserError in a forked process, where it would hang.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        import jax  # Not above: it takes seconds, and what is decorated may never be called.

        refuse_in_forked_child()
        with jax.enable_x64(False):
            return function(*args, **kwargs)

    return call
