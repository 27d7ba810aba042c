"""Converts a model to arrays with PyTorch's names and layout, and back.

The *original PyTorch project* is the project from which sid_jax was ported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from sid_jax.data.layout import Layout
from sid_jax.export.codebooks import read_codebooks, safetensors_bytes, write_codebooks
from sid_jax.export.programs import write_programs
from sid_jax.models.mlp import MLP
from sid_jax.models.rqvae import RQVAE

# Activations between the layers in the two versions of the original PyTorch project.
_ORIGINAL_ACTIVATIONS = ("silu", "relu")


def torch_weights(model: RQVAE) -> dict[str, np.ndarray]:
    """Returns every weight by its name in the original PyTorch project; weights of linear layers are `[out, in]`.

    The original's layers are in a Sequential with an activation between two layers, so layer i here is module 2 i
    there. The shortcuts of a residual encoder and its decoder, which the original lacks, are `encoder.shortcut.weight`
    and `decoder.shortcut.weight`.
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
    """Returns whether the original PyTorch project has this architecture.

    Its models have codebooks of one size, an encoder with layers and without shortcut, and the activation SiLU or ReLU.
    """
    return (
        len(set(model.quantizer.codebook_sizes)) == 1
        and len(model.encoder.layers) > 0
        and model.encoder.shortcut is None
        and model.encoder.activation in _ORIGINAL_ACTIVATIONS
    )


def training_arrays(model: RQVAE) -> dict[str, np.ndarray]:
    """Returns, by name, the arrays that only training needs, in addition to the weights and the codebooks.

    `quantizer.basis.0`, … and `quantizer.transform.0`, …: for "simvq", each level's basis and linear map, whose product
    is the codebook. `quantizer.count.0`, …: for "ema", the moving averages of the counts, `[K]`.
    `aligner.weight`: the linear map of the alignment loss, `[C, Z]`, where C is `data.collaborative_dimension`.
    """
    quantizer, arrays = model.quantizer, dict[str, np.ndarray]()
    groups = {"basis": quantizer.levels if len(quantizer.transforms) else (), "transform": quantizer.transforms}
    for name, variables in {**groups, "count": quantizer.counts}.items():
        arrays |= {f"quantizer.{name}.{level}": np.asarray(each[...]) for level, each in enumerate(variables)}
    if model.aligner is not None:
        arrays["aligner.weight"] = np.asarray(model.aligner.kernel[...]).T
    return arrays


def model_info(model: RQVAE) -> dict[str, Any]:
    """Returns the model's settings, such as activation, dropout and codebook sizes, as JSON values."""
    return {
        "unit_norm": model.unit_norm,
        "activation": model.encoder.activation,
        "dropout": model.encoder.dropout,
        "num_levels": len(model.quantizer.levels),
        "codebook_size": list(model.quantizer.codebook_sizes),
        "quantization_method": model.quantizer.method,
        "product": model.quantizer.product,
        "original_project": original_project_has(model),
        **({} if model.layout is None else {"parts": model.layout.to_dicts()}),
    }


def write_model(folder: Path, model: RQVAE, programs: Collection[str] = ()) -> None:
    """Writes `codebooks.safetensors`, `codebooks.pt` and the given programs of `sid_jax.export.programs`."""
    write_codebooks(folder, torch_weights(model), scaling_of(model), model_info(model), training_arrays(model))
    write_programs(folder, model, programs)


def model_hash(model: RQVAE) -> str:
    """Returns a SHA-256 of everything that determines a model's codes and decoded vectors."""
    info = {name: value for name, value in model_info(model).items() if name in ("unit_norm", "activation", "parts")}
    return hashlib.sha256(safetensors_bytes(torch_weights(model), scaling_of(model), info)).hexdigest()


def model_from_weights(
    codebooks: Sequence[np.ndarray],
    weights: Mapping[str, np.ndarray],
    scaling: Mapping[str, np.ndarray],
    info: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
) -> RQVAE:
    """Rebuilds the model that `write_model` wrote. No random weights are drawn, and nothing is compiled.

    Args:
      codebooks: L arrays `[K, Z]`.
      weights: encoder, decoder and `training_arrays`, by name.
      scaling: "mean" and "scale", `[D]` each, and for vectors with parts "filler", `[D, D]`.
      info: from `model_info`.
      config: the run's settings. They give the quantization method and the dropout rate, which `info` lacks in older
        exports.
    """
    widths, aligner = _widths(weights), weights.get("aligner.weight")
    settings = {**(config or {}).get("model", {}), **info}
    method = settings.get("quantization_method", "ste")
    model = nnx.eval_shape(
        lambda: RQVAE(
            len(scaling["mean"]),
            [len(codebook) for codebook in codebooks],
            latent_dimension=widths[-1] if widths else None,
            hidden_dimensions=widths[1:-1],
            activation=info["activation"],
            dropout=settings.get("dropout", 0.0),
            shortcut=_shortcut_name("encoder") in weights,
            unit_norm=info["unit_norm"],
            collaborative_dimension=None if aligner is None else len(aligner),
            quantization_method=method,
            layout=Layout.of_dicts(info["parts"]) if "parts" in info else None,
            product=info.get("product", False),
            rngs=nnx.Rngs(0),
        )
    )
    quantizer = {"levels": dict(enumerate(codebooks)), "initialized": np.array(True)}
    if method == "simvq":
        # An older export has only the codebooks. They become the basis, with the identity as transform.
        identity = np.eye(codebooks[0].shape[1], dtype=np.float32)
        quantizer["levels"] = _by_level(weights, "basis", codebooks)
        quantizer["transforms"] = _by_level(weights, "transform", [identity] * len(codebooks))
    elif method == "ema":
        ones = [np.ones(len(codebook), np.float32) for codebook in codebooks]
        quantizer["counts"] = _by_level(weights, "count", ones)
    arrays = {
        "encoder": _network(model.encoder, "encoder", weights),
        "decoder": _network(model.decoder, "decoder", weights),
        "quantizer": quantizer,
        **({} if aligner is None else {"aligner": {"kernel": aligner.T}}),
        **scaling,
    }
    nnx.update(model, jax.device_put(arrays))
    return model


def read_model(folder: Path, config: Mapping[str, Any] | None = None) -> RQVAE:
    """Returns the model of an export's folder; `config` is the manifest's config, which older exports need.

    Raises:
      UserError: if `codebooks.safetensors` is missing or corrupt.
    """
    return model_from_weights(*read_codebooks(folder), config)


def scaling_of(model: RQVAE) -> dict[str, np.ndarray]:
    """Returns "mean" and "scale", `[D]` each, and for vectors with parts "filler", `[D, D]`."""
    found = {"mean": np.asarray(model.mean[...]), "scale": np.asarray(model.scale[...])}
    return found if model.filler is None else {**found, "filler": np.asarray(model.filler[...])}


def _by_level(weights: Mapping[str, np.ndarray], name: str, otherwise: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    return {level: weights.get(f"quantizer.{name}.{level}", each) for level, each in enumerate(otherwise)}


def _shortcut_name(part: str) -> str:
    return f"{part}.shortcut.weight"


def _widths(weights: Mapping[str, np.ndarray]) -> list[int]:
    """Returns the list of D, the hidden widths and Z, read from the encoder's layers; an empty list without layers."""
    depth = sum(name.startswith("encoder.network.") and name.endswith(".weight") for name in weights)
    layers = [weights[f"encoder.network.{2 * number}.weight"] for number in range(depth)]
    return [*(layer.shape[1] for layer in layers[:1]), *(layer.shape[0] for layer in layers)]


def _network(mlp: MLP, part: str, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    names = [f"{part}.network.{2 * number}" for number in range(len(mlp.layers))]
    layers = {
        number: {"kernel": weights[f"{name}.weight"].T, "bias": weights[f"{name}.bias"]}
        for number, name in enumerate(names)
    }
    shortcut = {} if mlp.shortcut is None else {"shortcut": {"kernel": weights[_shortcut_name(part)].T}}
    return {"layers": layers, **shortcut}
