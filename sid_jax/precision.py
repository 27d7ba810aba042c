"""A decorator for functions that compute in 32 bits even if `jax_enable_x64` is set, and raise in a forked process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sid_jax.forks import refuse_in_forked_child

P = ParamSpec("P")
T = TypeVar("T")


def in_32_bits(function: Callable[P, T]) -> Callable[P, T]:
    """Makes JAX compute in 32 bits within a function, since 64 bits would change random numbers and therefore models.

    In a forked process, where JAX would hang, the function raises a UserError.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        import jax  # The import takes seconds, and the decorated function may never be called.

        refuse_in_forked_child()
        with jax.enable_x64(False):
            return function(*args, **kwargs)

    return call
