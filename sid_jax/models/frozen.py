"""Freezes parameters while a traced condition holds; their gradient is then not computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def with_gradient_unless(frozen: jax.Array, function: Callable[[Any], Any], params: Any) -> Any:
    """Returns `function(params)`, whose gradient with respect to `params` is 0 if `frozen` is True.

    In this case, the gradient is not computed. `jax.lax.stop_gradient` cannot depend on a traced value, so it would
    need a second compiled program.

    Args:
      frozen: bool, a scalar that may be traced.
      function: a differentiable function. There is no gradient with respect to arrays in its closure.
      params: a pytree of arrays.
    """

    @jax.custom_vjp
    def call(params: Any, frozen: jax.Array) -> Any:
        return function(params)

    def forward(params: Any, frozen: jax.Array) -> Any:
        value, pull_back = jax.vjp(function, params)
        return value, (pull_back, params, frozen)

    def backward(kept: Any, gradient: Any) -> Any:
        pull_back, params, frozen = kept
        zeros = jax.tree.map(jnp.zeros_like, params)
        return jax.lax.cond(frozen, lambda: (zeros,), lambda: pull_back(gradient))[0], None

    call.defvjp(forward, backward)
    return call(params, frozen)
