"""The optimizer, and how it forgets what it knew of a codeword."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict

from sid_jax.training.schedules import Schedule

# The settings of a config's section `train` that optimizer and learning rate are made of.
OPTIMIZER_SETTINGS = ("optimizer", "learning_rate", "learning_rate_schedule", "weight_decay", "gradient_clip_norm")


def make_optimizer(train: ConfigDict, learning_rate: Schedule) -> optax.GradientTransformation:
    """Returns clipping by global norm followed by AdamW (weight decay on kernels alone) or Adagrad, as in TIGER."""
    if train.optimizer == "adagrad":
        rule = optax.adagrad(learning_rate)
    else:
        rule = optax.adamw(learning_rate, weight_decay=train.weight_decay, mask=_kernels)
    clip = optax.clip_by_global_norm(train.gradient_clip_norm) if train.gradient_clip_norm > 0 else optax.identity()
    return optax.chain(clip, rule)


def reset_moments(
    optimizer: optax.GradientTransformation, opt_state: optax.OptState, params: Any, forget: Any
) -> optax.OptState:
    """Returns the optimizer's state with the moments of some parameters back at their start.

    A codeword that starts anew must not be thrown off by the momentum of the one that died.

    Args:
      optimizer: the one that the state belongs to.
      opt_state: its state.
      params: the parameters.
      forget: bool arrays, in the structure of the parameters and broadcastable to them: True where to forget.
    """
    fresh = optimizer.init(params)
    masks = optax.tree.map_params(
        optimizer, lambda _, mask: mask, opt_state, forget, transform_non_params=lambda _: jnp.array(False)
    )
    return jax.tree.map(lambda mask, new, old: jnp.where(mask, new, old), masks, fresh, opt_state)


def _kernels(params: Any) -> Any:
    def is_kernel(path: tuple[Any, ...], _: Any) -> bool:
        return any(getattr(entry, "key", getattr(entry, "name", None)) == "kernel" for entry in path)

    return jax.tree_util.tree_map_with_path(is_kernel, params)


def grad_norm(grads: nnx.State) -> jax.Array:
    """Returns the global L2 norm of the gradients, a scalar."""
    return optax.tree.norm(grads)
