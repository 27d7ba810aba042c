"""The optimizer, and codebook updates outside the optimizer: EMA and resets of dead codes."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict

from sid_jax.quantize.codebooks import basis_of, move_codewords, revive_codewords
from sid_jax.quantize.residual import QuantizerOutput
from sid_jax.training.schedules import Schedule
from sid_jax.training.state import TrainState


def make_optimizer(train: ConfigDict, learning_rate: Schedule) -> optax.GradientTransformation:
    """Returns NAdamW, AdamW or Adagrad, after gradient clipping by global norm.

    NAdamW is AdamW with Nesterov momentum (Dozat, Incorporating Nesterov Momentum into Adam, ICLR Workshop 2016). Both
    have weight decay on kernels only. Adagrad is the optimizer of TIGER.
    """
    if train.optimizer == "adagrad":
        rule = optax.adagrad(learning_rate)
    else:
        nesterov = train.optimizer == "nadamw"
        rule = optax.adamw(learning_rate, weight_decay=train.weight_decay, mask=_kernels, nesterov=nesterov)
    clip = optax.clip_by_global_norm(train.gradient_clip_norm) if train.gradient_clip_norm > 0 else optax.identity()
    return optax.chain(clip, rule)


def reset_moments(
    optimizer: optax.GradientTransformation, opt_state: optax.OptState, params: Any, forget: Any
) -> optax.OptState:
    """Returns the optimizer's state with the moments of some parameters reset to their initial values.

    The new codeword of a dead code must not keep the momentum of the old codeword.

    `forget` has the tree structure of the parameters. Its bool arrays broadcast to the parameters, and True marks the
    elements whose moments are reset.
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


def follow_means(state: TrainState, output: QuantizerOutput, decay: jax.Array) -> TrainState:
    """Moves every codeword toward the mean of the batch's residuals assigned to it (see `move_codewords`)."""
    params, statistics = _copied(state.params), _copied(state.statistics)
    levels: Any = params["quantizer"]["levels"]
    counts: Any = statistics["quantizer"]["counts"]
    for level in range(len(state.taken)):
        levels[level][...], counts[level][...] = move_codewords(
            levels[level][...], counts[level][...], output.residuals[:, level], output.codes[:, level], decay
        )
    return dataclasses.replace(state, params=params, statistics=statistics)


def revive_unused(
    state: TrainState, output: QuantizerOutput, optimizer: optax.GradientTransformation, key: jax.Array
) -> TrainState:
    """Resets the codewords, optimizer moments and moving-average counts of codes not assigned since the last reset.

    The state's `taken` counts the assignments. The reset sets `taken` to 0 for all codes. New codewords are drawn
    with `key` from the residuals in `output`, the quantizer's output for the step's batch.
    """
    params, statistics = _copied(state.params), _copied(state.statistics)
    quantizer: Any = params["quantizer"]
    counts: Any = statistics["quantizer"].get("counts")
    # `forget` has one flag per row of each parameter: whether the moments of the row are reset.
    forget: Any = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[:1] + (1,) * (leaf.ndim - 1), bool), state.params)
    for level, (taken, level_key) in enumerate(zip(state.taken, jax.random.split(key, len(state.taken)), strict=True)):
        dead = taken == 0
        codewords = quantizer["levels"][level]
        residuals, errors = jax.lax.stop_gradient((output.residuals[:, level], output.commitment_loss[:, level]))
        revived = revive_codewords(level_key, codewords[...], dead, residuals, errors)
        if "transforms" in quantizer:
            # SimVQ's parameters are the rows of a basis, and a linear map transforms these rows to codewords. The new
            # codewords are therefore converted to rows of the basis.
            in_basis = basis_of(revived, quantizer["transforms"][level][...])
            revived = jnp.where(dead[:, None], in_basis, codewords[...])
        if counts:
            counts[level][...] = jnp.where(dead, 1.0, counts[level][...])
        codewords[...] = revived
        forget["quantizer"]["levels"][level][...] = dead[:, None]
    return dataclasses.replace(
        state,
        params=params,
        statistics=statistics,
        opt_state=reset_moments(optimizer, state.opt_state, params, forget),
        taken=tuple(jnp.zeros_like(taken) for taken in state.taken),
    )


def _copied(state: nnx.State) -> nnx.State:
    return jax.tree.map(lambda leaf: leaf, state)
