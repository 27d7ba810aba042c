"""Residual quantization in training: level-by-level assignment with gradients, soft assignments and losses.

All functions here are pure functions of arrays. They work inside `jit`, `grad`, `vmap` and `scan`, with any JAX library
for neural networks.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from sid_jax.quantize.estimators import add_error, gumbel_softmax, rotate_to, straight_through
from sid_jax.quantize.losses import codebook_loss, commitment_loss
from sid_jax.quantize.nearest import (
    Codebooks,
    code_scores,
    codebook_spacing,
    codewords_by_one_hot,
    codewords_of,
    index_of_largest,
)

QuantizationMethod = Literal["ste", "rotation", "diveq", "gumbel_softmax", "simvq", "ema"]
QUANTIZATION_METHODS: tuple[str, ...] = get_args(QuantizationMethod)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QuantizerOutput:
    """Output of the quantizer for latent vectors `[..., Z]`.

    Attributes:
      codes: `[..., L]` int32, the codes used in the forward pass.
      nearest: `[..., L]` bool, whether each code is the nearest to its residual (False where noise chose another code).
      quantized: `[..., Z]`, the sum of the codewords, with the estimator's gradient to latents and codebooks.
      residuals: `[..., L, Z]`, the input of each level; the first is the latent vector itself.
      codewords: `[..., L, Z]`, the codeword that each level subtracts from its input.
      logits: for each level `[..., K]`, with gradients: `(2 r.c - |c|^2) / spacing` for residual r and codeword c. They
        are the negative squared distances in units of `nearest.codebook_spacing`, up to a term that is the same for all
        codes of a level.
      probabilities: for each level `[..., K]`, the soft assignment `softmax(logits / temperature)`, without noise.
      weights: for each level `[..., K]`, the assignment used in the forward pass. It is one-hot, with the gradient of
        the soft assignment. For "gumbel_softmax" with `hard=False`, it is the soft assignment itself.
        `code_embeddings` multiplies embedding tables by it.
      codebook_loss: `[..., L]`, `|sg(residual) - codeword|^2`.
      commitment_loss: `[..., L]`, `|residual - sg(codeword)|^2`.
    """

    codes: jax.Array
    nearest: jax.Array
    quantized: jax.Array
    residuals: jax.Array
    codewords: jax.Array
    logits: tuple[jax.Array, ...]
    probabilities: tuple[jax.Array, ...]
    weights: tuple[jax.Array, ...]
    codebook_loss: jax.Array
    commitment_loss: jax.Array


def residual_quantize(
    latents: jax.Array,
    codebooks: Codebooks,
    *,
    method: QuantizationMethod = "ste",
    key: jax.Array | None = None,
    temperature: jax.Array | float = 1.0,
    noise_scale: jax.Array | float = 1.0,
    hard: bool = True,
    stop_residual_gradient: bool = False,
    stop_codebook_gradient: bool = False,
) -> QuantizerOutput:
    """Quantizes latent vectors level by level, and returns codes, assignments and losses.

    "ste": each level subtracts its nearest codeword without a gradient, and one straight-through estimator is applied
      to the sum of the codewords. The gradient of `quantized` with respect to `latents` is the identity for any L.
    "rotation", "diveq": codes are assigned as in "ste"; other estimators are applied to the sum.
    "simvq": as "ste"; the codebooks must be those that `codebooks.transform_basis` returns.
    "ema": as "ste", but no gradient reaches the codebooks; `codebooks.move_codewords` updates them.
    "gumbel_softmax": each level's assignment is relaxed, and the gradient also flows through the codewords that were
      subtracted from the residual. The Jacobian of `quantized` is therefore `I - prod(I - J_l)` and not a sum of L
      terms; J_l is the Jacobian of level l's codeword with respect to the level's input.

    Args:
      latents: `[..., Z]` float32.
      codebooks: L arrays `[K, Z]`, or one `[L, K, Z]`.
      method: "ste", "rotation" (`estimators.rotate_to`), "diveq" (`estimators.add_error`), "gumbel_softmax", "simvq" or
        "ema".
      key: PRNG key of the noise of "gumbel_softmax" and "diveq"; None adds no noise.
      temperature: temperature of the soft assignments; above 0, may be traced.
      noise_scale: scale of the noise; may be traced.
      hard: with "gumbel_softmax", whether the forward pass uses the sampled codeword (True) or a mixture of codewords.
      stop_residual_gradient: with "gumbel_softmax", whether a level treats the codewords of earlier levels as
        constants.
      stop_codebook_gradient: whether the codebooks get no gradient, as in a frozen quantizer.

    Raises:
      ValueError: if the method is unknown.
    """
    if method not in QUANTIZATION_METHODS:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(QUANTIZATION_METHODS)}")
    constant = stop_codebook_gradient or method == "ema"
    levels = [jax.lax.stop_gradient(c) if constant else c for c in codebooks]
    soft = method == "gumbel_softmax"
    sizes = [len(codebook) for codebook in levels]
    remaining = latents  # the input of the scores; its gradient may pass through the soft assignments of earlier levels
    residual = latents  # the input of the losses; its gradient to the latents is the identity
    quantized = jnp.zeros_like(latents)
    steps = []
    for level, codebook in enumerate(levels):
        sample = None
        if soft:
            columns = (sum(sizes[:level]), sum(sizes))
            sample = functools.partial(gumbel_softmax, key=key, columns=columns, hard=hard)
        steps.append(_take_code(remaining, residual, codebook, sample, temperature, noise_scale, hard))
        codeword = steps[-1]["codewords"]
        quantized = quantized + codeword
        taken = jax.lax.stop_gradient(codeword)
        residual = residual - taken
        remaining = remaining - (codeword if soft and not stop_residual_gradient else taken)
    if method in ("ste", "simvq", "ema"):
        quantized = straight_through(latents, quantized)
    elif method == "rotation":
        quantized = rotate_to(latents, quantized)
    elif method == "diveq":
        quantized = add_error(latents, quantized, key, noise_scale)
    fields: dict[str, Any] = {name: tuple(step[name] for step in steps) for name in steps[0]}
    for name in ("codes", "nearest", "codebook_loss", "commitment_loss"):
        fields[name] = jnp.stack(fields[name], axis=-1)
    for name in ("residuals", "codewords"):
        fields[name] = jnp.stack(fields[name], axis=-2)
    return QuantizerOutput(quantized=quantized, **fields)


def _take_code(remaining, residual, codebook, sample, temperature, noise_scale, hard) -> dict[str, jax.Array]:
    """Returns one level's values of all fields of `QuantizerOutput` except `quantized`.

    `sample` is `gumbel_softmax` with the level's key and noise, or None if the nearest code is chosen.
    """
    scores = code_scores(remaining, codebook)
    # Temperature and noise are in units of the codebook's spacing, and are therefore multiplied by the spacing. Codes
    # are chosen by the undivided scores. If the scores were divided by the spacing, rounding could make different
    # scores equal, and the code could differ from the code of `assign_codes`.
    spacing = codebook_spacing(codebook)
    unit = {"temperature": temperature * spacing, "noise_scale": noise_scale * spacing}
    if sample:
        weights, code = sample(scores, **unit)
        # Finding the largest score takes less time than finding its index.
        is_nearest = jnp.take_along_axis(scores, code[..., None], axis=-1)[..., 0] >= jnp.max(scores, axis=-1)
    else:
        code = index_of_largest(scores)
        weights, is_nearest = jax.nn.one_hot(code, codebook.shape[0], dtype=codebook.dtype), jnp.ones(code.shape, bool)
    # The codebook loss uses the codeword of the forward pass, with a gradient only to the codebook.
    if sample and not hard:
        of_codebook = codewords_by_one_hot(jax.lax.stop_gradient(weights), codebook)
    else:
        of_codebook = codewords_of(code, codebook)
    # The gradient to the weights is a separate term, so that the codebook's gradient is computed only once.
    codeword = of_codebook + _gradient_to_weights(weights, codebook) if sample else of_codebook
    probabilities = jax.nn.softmax(scores / unit["temperature"], axis=-1)
    return {
        "codes": code,
        "nearest": is_nearest,
        "residuals": residual,
        "codewords": codeword,
        "logits": scores / spacing,
        "probabilities": probabilities,
        "weights": weights if sample else straight_through(probabilities, weights),
        "codebook_loss": codebook_loss(residual, of_codebook),
        "commitment_loss": commitment_loss(residual, of_codebook),
    }


@jax.custom_vjp
def _gradient_to_weights(weights: jax.Array, codebook: jax.Array) -> jax.Array:
    """Returns zeros `[..., Z]` with a gradient to the weights `[..., K]`, the same as that of `weights @ codebook`."""
    return jnp.zeros((*weights.shape[:-1], codebook.shape[1]), codebook.dtype)


_gradient_to_weights.defvjp(
    lambda weights, codebook: (_gradient_to_weights(weights, codebook), codebook),
    lambda codebook, grads: (codewords_by_one_hot(grads, codebook.T), jnp.zeros_like(codebook)),
)
