"""The model's arrays under PyTorch's names and in its layout, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from sid_jax.data.scaling import Scaling
from sid_jax.models.mlp import MLP
from sid_jax.models.rqvae import RQVAE

# What the original PyTorch project has between its layers, in one version or another.
_ORIGINAL_ACTIVATIONS = ("silu", "relu")


def torch_weights(model: RQVAE) -> dict[str, np.ndarray]:
    """Returns every weight by the original PyTorch project's names, linear layers as `[out, in]`.

    Its layers stand in a Sequential with an activation between two of them: layer i of ours is its number 2 i. What it
    does not have, the shortcut of a residual encoder, is `encoder.shortcut.weight`.
    """
    weights: dict[str, np.ndarray] = {}
    for part, mlp in (("encoder", model.encoder), ("decoder", model.decoder)):
        for number, layer in enumerate(mlp.layers):
            linear = nnx.to_pure_dict(nnx.state(layer))
            weights[f"{part}.network.{2 * number}.weight"] = np.asarray(linear["kernel"]).T
            weights[f"{part}.network.{2 * number}.bias"] = np.asarray(linear["bias"])
        if mlp.shortcut is not None:
            weights[_shortcut_name(part)] = np.asarray(mlp.shortcut.kernel[...]).T
    for level, codebook in enumerate(model.quantizer.codebooks):
        weights[f"quantization_layers.{level}.embedding.weight"] = np.asarray(codebook)
    return weights


def original_project_has(model: RQVAE) -> bool:
    """Returns whether the original PyTorch project has this architecture: one K, layers, no shortcut, SiLU or ReLU."""
    return (
        len(set(model.quantizer.codebook_sizes)) == 1
        and len(model.encoder.layers) > 0
        and model.encoder.shortcut is None
        and model.encoder.activation in _ORIGINAL_ACTIVATIONS
    )


def model_info(model: RQVAE) -> dict[str, Any]:
    """Returns what the arrays do not say of the model, as plain values."""
    return {
        "unit_norm": model.unit_norm,
        "activation": model.encoder.activation,
        "num_levels": len(model.quantizer.levels),
        "codebook_size": list(model.quantizer.codebook_sizes),
        "original_project": original_project_has(model),
    }


def model_from_weights(
    codebooks: Sequence[np.ndarray],
    weights: Mapping[str, np.ndarray],
    scaling: Mapping[str, np.ndarray],
    info: Mapping[str, Any],
) -> RQVAE:
    """Returns the model that `torch_weights` and `model_info` came from.

    Args:
      codebooks: L of `[K, Z]`.
      weights: encoder and decoder, by name.
      scaling: "mean" and "scale", `[D]` each.
      info: as from `model_info`.
    """
    widths = _widths(weights)
    model = RQVAE(
        len(scaling["mean"]),
        [len(codebook) for codebook in codebooks],
        latent_dimension=widths[-1] if widths else None,
        hidden_dimensions=widths[1:-1],
        activation=info["activation"],
        shortcut=_shortcut_name("encoder") in weights,
        unit_norm=info["unit_norm"],
        rngs=nnx.Rngs(0),
    )
    _fill(model.encoder, "encoder", weights)
    _fill(model.decoder, "decoder", weights)
    model.quantizer.set_codebooks([jnp.asarray(codebook) for codebook in codebooks])
    model.set_scaling(
        Scaling(unit_norm=info["unit_norm"], mean=jnp.asarray(scaling["mean"]), scale=jnp.asarray(scaling["scale"]))
    )
    return model


def _shortcut_name(part: str) -> str:
    return f"{part}.shortcut.weight"


def _widths(weights: Mapping[str, np.ndarray]) -> list[int]:
    """Returns D, the hidden widths, and Z, from the encoder's layers; nothing if it has none."""
    depth = sum(name.startswith("encoder.network.") and name.endswith(".weight") for name in weights)
    layers = [weights[f"encoder.network.{2 * number}.weight"] for number in range(depth)]
    return [*(layer.shape[1] for layer in layers[:1]), *(layer.shape[0] for layer in layers)]


def _fill(mlp: MLP, part: str, weights: Mapping[str, np.ndarray]) -> None:
    for number, layer in enumerate(mlp.layers):
        kernel, bias = (weights[f"{part}.network.{2 * number}.{name}"] for name in ("weight", "bias"))
        nnx.update(layer, {"kernel": jnp.asarray(kernel.T), "bias": jnp.asarray(bias)})
    if mlp.shortcut is not None:
        nnx.update(mlp.shortcut, {"kernel": jnp.asarray(weights[_shortcut_name(part)].T)})
