"""Models and IDs are those of 32-bit numbers, whatever `jax_enable_x64` is where they are asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_32_bits(function: Callable[P, T]) -> Callable[P, T]:
    """Has JAX compute in 32 bits within a function: in 64 bits random numbers, and so models, would be others."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        import jax  # Not above: it takes seconds, and what is decorated may never be called.

        with jax.enable_x64(False):
            return function(*args, **kwargs)

    return call
